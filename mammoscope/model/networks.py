"""Keras networks from a backbone and a head, for any Keras backend.

Every network takes uint8 (N, H, W, 1), or (N, H, W, 3) of three channels, and scales it inside the
graph, so that a saved network can be used without further code. Outputs, by name:

``logit``
    float32 (N, 1): score before calibration.
``logit_map``
    float32 (N, h, w, 1): the contribution of each cell of the image to the score. The head pools
    it into the logit, by its mean (``mean``), by a smooth maximum (``logit_map``) or by the mean of
    its highest cells (``lesions``).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from mammoscope.errors import ConfigurationError
from mammoscope.settings.training import TrainConfig


class _Backbone(NamedTuple):
    build: Callable[..., keras.Model]
    learns_after: str
    """Layer after which convolutions are trainable if ``trainable_from`` is ``auto``."""


_BACKBONES: Final = {
    "inceptionv3": _Backbone(keras.applications.InceptionV3, "mixed3"),
    "resnet101v2": _Backbone(keras.applications.ResNet101V2, "conv3_block4_out"),
    "xception": _Backbone(keras.applications.Xception, "block5_sepconv1_act"),
}
"""All three expect pixels scaled to [-1, 1] (``preprocess_input`` in mode ``tf``)."""

LOG_SUM_EXP_SHARPNESS: Final = 4.0
"""r in the pooling log(mean(exp(r x))) / r: the mean for r towards 0, the maximum for large r.

References
----------
Pinheiro PO, Collobert R. From image-level to pixel-level labeling with convolutional networks.
CVPR 2015: values from 1 to 10 work equally well.
"""

_HEAD: Final = "score"
"""Name of the layer that maps features to the logit map."""

CELLS: Final = "cells"
"""Name of the layer of the head ``lesions`` that is trained on outlines: float32 (N, h, w, 2),
logits of a malignant and of a benign lesion in each cell."""

_HIGHEST_CELLS: Final = 6
"""Number of highest cells whose mean is the logit of the head ``lesions``: a lesion's size."""

_RARE_LOGIT: Final = -3.0
"""Logit of a cell before training: about 1 cell in 20 has a lesion."""

_CELL_SLOPE: Final = 0.3
"""Slope of the logit map in the malignant cells before training. It turns the share of cells with a
lesion into about the share of images with a tumour."""

_REMOVED_HEAD: Final = "standardise"
"""Name of a layer in the heads ``depths`` and ``mean_max`` of earlier versions only."""

_AUTO: Final = "auto"
_ALL: Final = "all"
_NONE: Final = "none"


def build_network(config: TrainConfig) -> keras.Model:
    """Build the network of `config` with random weights.

    Parameters
    ----------
    config
        Its backbone, head, channels, drop rate, smoothing and input size are used.
    """
    height, width = config.input_size
    channels = 3 if config.channels == "three" else 1
    pixels = keras.Input((height, width, channels), dtype="uint8", name="pixels")
    scaled = layers.Rescaling(1.0 / 127.5, offset=-1.0, dtype="float32", name="scale")(pixels)
    passes = [(2, 2)] * config.smoothing + [(1, 2)] * config.smoothing_width
    for number, neighbours in enumerate(passes):
        smooth = layers.AveragePooling2D(
            neighbours, strides=1, padding="same", dtype="float32", name=f"smooth_{number}"
        )
        scaled = smooth(scaled)
    if channels == 1:
        scaled = layers.Concatenate(name="repeat_channel")([scaled, scaled, scaled])
    features = _build_backbone(config, weights=None)(scaled)
    dropped = layers.SpatialDropout2D(config.drop_rate, name="dropout")(features)
    start: Any = "glorot_uniform"
    if config.head == "lesions":
        # Cells with a lesion are rare, images with a tumour are not: the score has its own scale.
        start = keras.initializers.Constant(_CELL_SLOPE)
        cells = layers.Conv2D(
            2,
            1,
            kernel_initializer="zeros",
            bias_initializer=keras.initializers.Constant(_RARE_LOGIT),
            dtype="float32",
            name=CELLS,
        )
        dropped = cells(dropped)[..., :1]
    score = layers.Conv2D(1, 1, kernel_initializer=start, dtype="float32", name=_HEAD)
    logit_map = score(dropped)
    outputs = {"logit": _pool(logit_map, config), "logit_map": logit_map}
    return keras.Model(pixels, outputs, name="mammoscope")


def _build_backbone(config: TrainConfig, weights: str | None) -> keras.Model:
    return _BACKBONES[config.backbone].build(
        include_top=False, weights=weights, input_shape=(*config.input_size, 3), name="backbone"
    )


def _pool(logit_map: Any, config: TrainConfig) -> Any:
    """Logit (N, 1) of a logit map (N, h, w, 1)."""
    if config.head == "mean":
        return ops.mean(logit_map, axis=(1, 2))
    cells = logit_map.shape[1] * logit_map.shape[2]
    if config.head == "lesions":
        highest, _ = ops.top_k(ops.reshape(logit_map, (-1, cells)), min(_HIGHEST_CELLS, cells))
        return ops.mean(highest, axis=1, keepdims=True)
    sharp = ops.logsumexp(LOG_SUM_EXP_SHARPNESS * logit_map, axis=(1, 2))
    return (sharp - float(np.log(cells))) / LOG_SUM_EXP_SHARPNESS


def load_weights(network: keras.Model, config: TrainConfig) -> None:
    """Load the weights named by `config` into a network.

    The network of an earlier run provides the head too.

    Raises
    ------
    ConfigurationError
        If the weights are unavailable or do not fit.
    """
    backbone = network.get_layer("backbone")
    if config.weights == "none":
        return
    if config.weights == "imagenet":
        _copy(_imagenet(config), backbone)
        return
    path = Path(config.weights)
    if not path.is_file():
        raise ConfigurationError("The weights must be imagenet, none, or an existing file.")
    if path.suffix == ".keras":
        _continue_from(path, network)
        return
    try:
        backbone.load_weights(path)
    except (OSError, ValueError) as err:
        raise ConfigurationError(
            f"The weights are not those of {config.backbone} without its top."
        ) from err


def _continue_from(path: Path, network: keras.Model) -> None:
    """Copy the backbone and the head from an earlier run's network."""
    try:
        earlier = keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError) as err:
        raise ConfigurationError("The earlier run's network cannot be loaded.") from err
    names = {layer.name for layer in earlier.layers}
    if _REMOVED_HEAD in names:
        raise ConfigurationError(
            "The earlier run's network has the head depths or mean_max, which this version no "
            "longer supports; start from a network with the head mean or logit_map."
        )
    learned = {layer.name for layer in network.layers} & {"backbone", _HEAD, CELLS}
    if not names.issuperset(learned):
        raise ConfigurationError("The earlier run's network does not have the expected layers.")
    for name in learned:
        _copy(earlier.get_layer(name), network.get_layer(name))


def _imagenet(config: TrainConfig) -> keras.Model:
    try:
        return _build_backbone(config, weights="imagenet")
    except Exception as err:  # Keras raises a bare Exception if a download fails.
        raise ConfigurationError(
            "The ImageNet weights cannot be downloaded; use --weights FILE or --weights none."
        ) from err


def _copy(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    try:
        target.set_weights(source.get_weights())
    except ValueError as err:
        raise ConfigurationError("The weights belong to another backbone or head.") from err


def choose_trainable(network: keras.Model, config: TrainConfig, trainable_from: str) -> None:
    """Make the backbone trainable from the named layer on; batch normalisation mostly stays frozen.

    Frozen batch normalisation keeps its statistics, because batches are too small to estimate them.
    Only a backbone with random weights, which has no statistics yet, also trains its batch
    normalisation.

    Parameters
    ----------
    network
        Made by `build_network` from `config`.
    config
        Its backbone and the name of its weights are used.
    trainable_from
        Name of a layer of the backbone, after which convolutions are trainable; or ``auto``,
        ``all``, ``none``.

    Raises
    ------
    ConfigurationError
        If the backbone has no such layer.
    """
    if trainable_from == _AUTO:
        trainable_from = _BACKBONES[config.backbone].learns_after
    backbone = network.get_layer("backbone")
    backbone.trainable = True
    names = [layer.name for layer in backbone.layers]
    if trainable_from not in (_ALL, _NONE) and trainable_from not in names:
        raise ConfigurationError(
            "The backbone has no such layer to train from; allowed are auto, all, none or the name "
            "of a layer."
        )
    learns = trainable_from == _ALL
    from_scratch = config.weights == "none"
    for layer in backbone.layers:
        normalises = isinstance(layer, layers.BatchNormalization)
        layer.trainable = learns and (from_scratch or not normalises)
        learns = learns or layer.name == trainable_from


def with_backbone(network: keras.Model, backbone: keras.Model) -> keras.Model:
    """Return a network with another backbone, and the same layers and weights around it."""

    def rebuilt(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name == backbone.name:
            return backbone
        return layer.__class__.from_config(layer.get_config())

    result = keras.models.clone_model(network, clone_function=rebuilt)
    for layer in network.layers:
        if layer.name != backbone.name and layer.get_weights():
            result.get_layer(layer.name).set_weights(layer.get_weights())
    return result


def export_network(trained: keras.Model, config: TrainConfig) -> keras.Model:
    """Rebuild a trained network in float32."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        network = build_network(config)
    finally:
        keras.config.set_dtype_policy(policy)
    network.set_weights(trained.get_weights())
    return network
