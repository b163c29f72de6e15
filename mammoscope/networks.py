"""Backbones with a head, as Keras networks that run on any backend.

Every network takes uint8 (N, H, W, 1) and scales it inside the graph, so that a saved network
needs no companion to be used rightly. Outputs, by name:

``logit``
    float32 (N, 1): score before calibration.
``logit_map``
    float32 (N, h, w, 1): what each cell of the last feature map would score alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import keras
from keras import layers, ops

from mammoscope.errors import ConfigurationError
from mammoscope.settings import TrainConfig

_BACKBONES: Final = {
    "inceptionv3": keras.applications.InceptionV3,
    "resnet101v2": keras.applications.ResNet101V2,
    "xception": keras.applications.Xception,
}
"""All three expect pixels scaled to [-1, 1] (``preprocess_input`` in mode ``tf``)."""

LOG_SUM_EXP_SHARPNESS: Final = 4.0
"""r of the pooling log(mean(exp(r x))) / r: towards 0 it is the mean, towards infinity the maximum.

References
----------
Pinheiro PO, Collobert R. From image-level to pixel-level labeling with convolutional networks.
CVPR 2015: values from 1 to 10 work alike.
"""

_ALL: Final = "all"
_NONE: Final = "none"


def build_network(config: TrainConfig, auxiliary: Sequence[str] = ()) -> keras.Model:
    """Build the network of `config` with freshly drawn weights.

    Parameters
    ----------
    config
        Backbone, head, drop rate and input size are used.
    auxiliary
        Names of further outputs, each float32 (N, 1), for training only.
    """
    height, width = config.input_size
    pixels = keras.Input((height, width, 1), dtype="uint8", name="pixels")
    scaled = layers.Rescaling(1.0 / 127.5, offset=-1.0, dtype="float32", name="scale")(pixels)
    rgb = layers.Concatenate(name="repeat_channel")([scaled, scaled, scaled])
    backbone = _BACKBONES[config.backbone](
        include_top=False, weights=None, input_shape=(height, width, 3), name="backbone"
    )
    features = backbone(rgb)
    average = layers.GlobalAveragePooling2D(name="average")(features)
    logit, logit_map = _head(config, features, average)
    outputs = {"logit": logit, "logit_map": logit_map}
    shared = layers.Dropout(config.drop_rate, name="auxiliary_dropout")(average)
    for name in auxiliary:
        outputs[name] = layers.Dense(1, dtype="float32", name=name)(shared)
    return keras.Model(pixels, outputs, name="mammoscope")


def _head(config: TrainConfig, features: Any, average: Any) -> tuple[Any, Any]:
    """Logit and logit map of the feature map (N, h, w, c) and its average (N, c)."""
    score = layers.Conv2D(1, 1, dtype="float32", name="score")
    if config.head == "logit_map":
        dropped = layers.SpatialDropout2D(config.drop_rate, name="dropout")(features)
        logit_map = score(dropped)
        cells = float(logit_map.shape[1] * logit_map.shape[2])
        sharp = ops.logsumexp(LOG_SUM_EXP_SHARPNESS * logit_map, axis=(1, 2))
        return (sharp - ops.log(cells)) / LOG_SUM_EXP_SHARPNESS, logit_map
    if config.head == "mean":
        # A linear map commutes with the mean: the map is exact and costs nothing.
        dropped = layers.SpatialDropout2D(config.drop_rate, name="dropout")(features)
        logit_map = score(dropped)
        return ops.mean(logit_map, axis=(1, 2)), logit_map
    highest = layers.GlobalMaxPooling2D(name="highest")(features)
    pooled = layers.Concatenate(name="mean_max")([average, highest])
    dropped = layers.Dropout(config.drop_rate, name="dropout")(pooled)
    logit = layers.Dense(1, dtype="float32", name="logit")(dropped)
    return logit, score(features)


def load_weights(network: keras.Model, config: TrainConfig) -> bool:
    """Fill a network with the weights that `config` names.

    Returns
    -------
    bool
        Whether the head was filled too, so that it needs no warm-up.

    Raises
    ------
    ConfigurationError
        If the weights cannot be had or do not fit.
    """
    backbone = network.get_layer("backbone")
    if config.weights == "none":
        return False
    if config.weights == "imagenet":
        _copy(_imagenet(config), backbone)
        return False
    path = Path(config.weights)
    if not path.is_file():
        raise ConfigurationError(
            "The weights are neither imagenet, nor none, nor an existing file."
        )
    if path.suffix != ".keras":
        try:
            backbone.load_weights(path)
        except (OSError, ValueError) as err:
            raise ConfigurationError(
                f"The weights are not those of {config.backbone} without its top."
            ) from err
        return False
    try:
        earlier = keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError) as err:
        raise ConfigurationError("The earlier run's network cannot be loaded.") from err
    names = {layer.name for layer in earlier.layers}
    if "backbone" not in names:
        raise ConfigurationError("The earlier run's network has no backbone of ours.")
    _copy(earlier.get_layer("backbone"), backbone)
    trained_head = "logit" if config.head == "mean_max" else "score"
    if trained_head in names:
        _copy(earlier.get_layer(trained_head), network.get_layer(trained_head))
        return True
    return False


def _imagenet(config: TrainConfig) -> keras.Model:
    height, width = config.input_size
    try:
        return _BACKBONES[config.backbone](
            include_top=False, weights="imagenet", input_shape=(height, width, 3)
        )
    except Exception as err:  # Keras raises a bare Exception when a download fails.
        raise ConfigurationError(
            "The ImageNet weights cannot be downloaded; give a file with --weights, or none."
        ) from err


def _copy(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    try:
        target.set_weights(source.get_weights())
    except ValueError as err:
        raise ConfigurationError("The weights are those of another backbone or head.") from err


def choose_trainable(network: keras.Model, trainable_from: str) -> None:
    """Let the backbone learn from the named layer on; batch normalisation stays frozen.

    Frozen batch normalisation keeps its statistics: batches are too small to estimate them.

    Parameters
    ----------
    network
        As `build_network` made it.
    trainable_from
        Name of a layer of the backbone; convolutions after it learn. ``all`` or ``none``.

    Raises
    ------
    ConfigurationError
        If the backbone has no layer of that name.
    """
    backbone = network.get_layer("backbone")
    backbone.trainable = True
    names = [layer.name for layer in backbone.layers]
    if trainable_from not in (_ALL, _NONE) and trainable_from not in names:
        raise ConfigurationError(
            "The backbone has no such layer to learn from; all, none or a layer's name is allowed."
        )
    learns = trainable_from == _ALL
    for layer in backbone.layers:
        layer.trainable = learns and not isinstance(layer, layers.BatchNormalization)
        learns = learns or layer.name == trainable_from


def export_network(trained: keras.Model, config: TrainConfig) -> keras.Model:
    """Rebuild a trained network in float32 without its auxiliary outputs."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        network = build_network(config)
    finally:
        keras.config.set_dtype_policy(policy)
    for layer in network.layers:
        if layer.get_weights():
            layer.set_weights(trained.get_layer(layer.name).get_weights())
    return network
