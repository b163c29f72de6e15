"""Fold batch normalisation into the convolutions before it, as engines do on loading."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops


def folded(backbone: keras.Model) -> keras.Model:
    """Return a backbone without batch normalisation that computes the same.

    Raises
    ------
    ValueError
        If a batch normalisation does not follow a convolution alone.
    """
    norms: dict[str, layers.BatchNormalization] = {}
    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            before = layer.input._keras_history.operation  # noqa: SLF001 Keras has no public name
            if type(before) is not layers.Conv2D or len(before._outbound_nodes) != 1:  # noqa: SLF001
                raise ValueError("Batch normalisation must follow a convolution.")
            norms[before.name] = layer

    def rebuilt(layer: keras.layers.Layer) -> keras.layers.Layer:
        biased = {"use_bias": True} if layer.name in norms else {}
        return layer.__class__.from_config(layer.get_config() | biased)

    def called(layer: keras.layers.Layer, *inputs: Any, **options: Any) -> Any:
        is_norm = isinstance(layer, layers.BatchNormalization)
        return inputs[0] if is_norm else layer(*inputs, **options)

    result = keras.models.clone_model(backbone, clone_function=rebuilt, call_function=called)
    for layer in backbone.layers:
        weights = layer.get_weights()
        if weights and not isinstance(layer, layers.BatchNormalization):
            norm = norms.get(layer.name)
            result.get_layer(layer.name).set_weights(_with(weights, norm) if norm else weights)
    return result


def _with(weights: list[Any], norm: layers.BatchNormalization) -> list[npt.NDArray[np.float32]]:
    """Return a convolution's weights with the normalisation after it."""
    kernel, *bias = (np.asarray(each, np.float64) for each in weights)
    of = {each.name: np.asarray(ops.convert_to_numpy(each), np.float64) for each in norm.weights}
    slope = of.get("gamma", 1.0) / np.sqrt(of["moving_variance"] + norm.epsilon)
    start = of.get("beta", 0.0) - of["moving_mean"] * slope + (bias[0] * slope if bias else 0.0)
    return [(kernel * slope).astype(np.float32), np.asarray(start).astype(np.float32)]
