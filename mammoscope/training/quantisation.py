"""Quantisation-aware training: a network learns to compute as an engine with 8 bits does.

Batch normalisation is folded first (see `mammoscope.training.folding`). Then each convolution of
the backbone quantises its input and its weights, and gradients pass as if nothing was quantised.
The engine quantises the same tensors (see `mammoscope.model.fake_quantisation`). A tensor has one
range, however many convolutions read it; the inputs of a concatenation share a range. The first
convolution, which reads the image, and the head compute in float32.

References
----------
Jacob B, et al. Quantization and training of neural networks for efficient integer-arithmetic-only
inference. CVPR 2018. Choi J, et al. PACT: parameterized clipping activation for quantized neural
networks. arXiv:1805.06085: the ends of the ranges learn.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops

from mammoscope.model.fake_quantisation import ACTIVATION_LEVELS, WEIGHT_LEVELS
from mammoscope.model.networks import with_backbone
from mammoscope.training.batches import as_input
from mammoscope.training.folding import folded

RANGE_RATE: Final = 300.0
"""Multiple of the learning rate for the ends of ranges, which are much larger than weights."""

_MAP_WEIGHT: Final = 0.1
"""Weight of the logit map in the loss; its cells differ more than the logit."""


def _straight_through(exact: Any, quantised: Any) -> Any:
    """Return `quantised`, with the gradient of `exact`."""
    return exact + ops.stop_gradient(quantised - exact)


class ActivationQuantiser(layers.Layer):
    """Quantises float32 (N, ...) to `ACTIVATION_LEVELS` values from 0 to an end that learns."""

    def build(self, shape: Any) -> None:
        """Make the end of the range."""
        del shape
        self.end = self.add_weight(shape=(), initializer="ones", name="end")

    def call(self, values: Any) -> Any:
        """Quantise."""
        clipped = ops.minimum(ops.maximum(values, 0.0), self.end)
        step = ops.stop_gradient(self.end) / (ACTIVATION_LEVELS - 1)
        return _straight_through(clipped, ops.round(clipped / step) * step)


class QuantisedConv2D(layers.Conv2D):
    """A convolution with quantised weights: signed, with a range for each output channel.

    ``quantiser`` is the name of the layer that quantises its input.
    """

    quantiser: str

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Convolve with the quantised kernel."""
        return super().convolution_op(inputs, _straight_through(kernel, _quantised(kernel)))


class Imitation(layers.Layer):
    """Adds the loss of outputs that differ from a teacher's, and passes the logit on."""

    def call(self, outputs: Mapping[str, Any], teacher: Mapping[str, Any]) -> Any:
        """Take float32 (N, 1) ``logit`` and (N, h, w, 1) ``logit_map`` of both."""
        for name, weight in (("logit", 1.0), ("logit_map", _MAP_WEIGHT)):
            difference = outputs[name] - ops.stop_gradient(teacher[name])
            self.add_loss(weight * ops.mean(ops.square(difference)))
        return outputs["logit"]


def quantise(network: keras.Model, ranges: Mapping[str, float] | None = None) -> keras.Model:
    """Return a network with the same weights whose backbone quantises.

    Parameters
    ----------
    network
        A network of `mammoscope.model.networks`.
    ranges
        Ends of the ranges as in `ranges_of`; without them, all end at 1.

    Raises
    ------
    ValueError
        If a batch normalisation does not follow a convolution alone.
    """
    backbone = folded(network.get_layer("backbone"))
    first = next(layer.name for layer in backbone.layers if isinstance(layer, layers.Conv2D))
    quantisers: dict[int, tuple[str, Any]] = {}

    def rebuilt(layer: keras.layers.Layer) -> keras.layers.Layer:
        plain = not isinstance(layer, layers.Conv2D) or layer.name == first
        return (layer.__class__ if plain else QuantisedConv2D).from_config(layer.get_config())

    def called(layer: keras.layers.Layer, *inputs: Any, **options: Any) -> Any:
        if not isinstance(layer, QuantisedConv2D):
            return layer(*inputs, **options)
        read = inputs[0]
        if id(read) not in quantisers:
            quantiser = ActivationQuantiser(name=f"quantise_{layer.name}")
            quantisers[id(read)] = quantiser.name, quantiser(read)
        layer.quantiser, quantised = quantisers[id(read)]
        return layer(quantised, **options)

    quantised = with_backbone(network, _cloned(backbone, rebuilt, called))
    if ranges is not None:
        for name, quantiser in _quantisers(quantised).items():
            quantiser.end.assign(ranges[name])
    return quantised


def fit_ranges(quantised: keras.Model, network: keras.Model, pixels: npt.NDArray[np.uint8]) -> None:
    """Set the ends of ranges to the largest values that the exact network computes.

    Ranges that end at a quantile below that start with larger errors.

    Parameters
    ----------
    quantised, network
        Result and argument of `quantise`.
    pixels
        Preprocessed images, uint8 (N, H, W) or (N, H, W, 3).
    """
    exact = folded(network.get_layer("backbone"))
    before = network.layers[[layer.name for layer in network.layers].index("backbone") - 1]
    inputs = keras.Model(network.input, before.output).predict_on_batch(as_input(pixels))
    of = {quantiser: name for name, quantiser in _quantisers(quantised).items()}
    read = keras.Model(
        exact.input, {name: exact.get_layer(name).input for name in of.values()}
    ).predict_on_batch(inputs)
    for quantiser, name in of.items():
        quantiser.end.assign(max(float(ops.max(read[name])), 1e-6))


def ranges_of(quantised: keras.Model) -> dict[str, float]:
    """Return the end of the range of each quantised convolution's input, by the layer's name."""
    return {
        name: float(ops.convert_to_numpy(quantiser.end))
        for name, quantiser in _quantisers(quantised).items()
    }


def range_variables(network: keras.Model) -> list[Any]:
    """Return the variables of the ends of ranges."""
    return [quantiser.end for quantiser in dict.fromkeys(_quantisers(network).values())]


def plain(quantised: keras.Model) -> keras.Model:
    """Return a network of Keras' own layers with the quantised kernels.

    An engine finds the same values again: quantising a quantised kernel does not change it.
    """

    def rebuilt(layer: keras.layers.Layer) -> keras.layers.Layer:
        kind = layers.Conv2D if isinstance(layer, QuantisedConv2D) else layer.__class__
        return kind.from_config(layer.get_config())

    def called(layer: keras.layers.Layer, *inputs: Any, **options: Any) -> Any:
        return inputs[0] if isinstance(layer, ActivationQuantiser) else layer(*inputs, **options)

    result = with_backbone(quantised, _cloned(quantised.get_layer("backbone"), rebuilt, called))
    for name, layer in _convolutions(quantised).items():
        _, *bias = layer.get_weights()
        kernel = ops.convert_to_numpy(_quantised(layer.kernel))
        result.get_layer("backbone").get_layer(name).set_weights([kernel, *bias])
    return result


def _quantised(kernel: Any) -> Any:
    ends = ops.stop_gradient(ops.max(ops.abs(kernel), axis=(0, 1, 2)))
    step = ops.maximum(ends, 1e-12) / (WEIGHT_LEVELS // 2)
    return ops.round(kernel / step) * step


def _convolutions(network: keras.Model) -> dict[str, QuantisedConv2D]:
    found = network.get_layer("backbone").layers
    return {layer.name: layer for layer in found if isinstance(layer, QuantisedConv2D)}


def _quantisers(network: keras.Model) -> dict[str, ActivationQuantiser]:
    """Return what quantises the input of each quantised convolution, by the latter's name."""
    backbone = network.get_layer("backbone")
    found = _convolutions(network)
    return {name: backbone.get_layer(layer.quantiser) for name, layer in found.items()}


def _cloned(
    backbone: keras.Model,
    rebuilt: Callable[[keras.layers.Layer], keras.layers.Layer],
    called: Callable[..., Any],
) -> keras.Model:
    """Rebuild a backbone with the same weights in the layers that have them."""
    result = keras.models.clone_model(backbone, clone_function=rebuilt, call_function=called)
    kept = {layer.name for layer in result.layers}
    for layer in backbone.layers:
        if layer.get_weights() and layer.name in kept:
            result.get_layer(layer.name).set_weights(layer.get_weights())
    return result
