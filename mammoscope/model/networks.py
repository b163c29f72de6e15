"""Backbones with a head, as Keras networks that run on any backend.

Every network takes uint8 (N, H, W, 1) and scales it inside the graph, so that a saved network
needs no companion to be used rightly. Outputs, by name:

``logit``
    float32 (N, 1): score before calibration.
``logit_map``
    float32 (N, h, w, 1): what each cell of the image adds to the score. Its pooling is the logit
    (heads ``logit_map`` and ``mean``); its mean is the logit but for a constant (heads ``mean_max``
    and, up to the interpolation between depths, ``depths``): what an average adds lies on all its
    cells, what a maximum adds on the cell that holds it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from mammoscope.errors import ConfigurationError
from mammoscope.settings import POOLING_HEADS, TrainConfig


class _Backbone(NamedTuple):
    build: Callable[..., keras.Model]
    depths: tuple[str, ...]
    """Layers whose maps the head ``depths`` reads, the last one first."""
    learns_after: str
    """Layer after which convolutions learn with ``trainable_from`` ``auto``."""


_BACKBONES: Final = {
    "inceptionv3": _Backbone(
        keras.applications.InceptionV3,
        ("mixed10", "mixed8", "mixed7", "mixed5", "mixed2"),
        "mixed3",
    ),
    "resnet101v2": _Backbone(
        keras.applications.ResNet101V2,
        ("post_relu", "conv4_block23_out", "conv3_block4_out"),
        "conv3_block4_out",
    ),
    "xception": _Backbone(
        keras.applications.Xception,
        ("block14_sepconv2_act", "block13_sepconv1_act", "block9_sepconv1_act"),
        "block5_sepconv1_act",
    ),
}
"""All three expect pixels scaled to [-1, 1] (``preprocess_input`` in mode ``tf``)."""

LOG_SUM_EXP_SHARPNESS: Final = 4.0
"""r of the pooling log(mean(exp(r x))) / r: towards 0 it is the mean, towards infinity the maximum.

References
----------
Pinheiro PO, Collobert R. From image-level to pixel-level labeling with convolutional networks.
CVPR 2015: values from 1 to 10 work alike.
"""

POOLED: Final = "pooled"
"""Name of the layer that holds the pooled features of heads ``mean_max`` and ``depths``."""

_AUTO: Final = "auto"
_ALL: Final = "all"
_NONE: Final = "none"


def build_network(config: TrainConfig, auxiliary: Sequence[str] = ()) -> keras.Model:
    """Build the network of `config` with freshly drawn weights.

    Parameters
    ----------
    config
        Backbone, head, drop rate, smoothing and input size are used.
    auxiliary
        Names of further outputs, each float32 (N, 1), for training only.
    """
    height, width = config.input_size
    pixels = keras.Input((height, width, 1), dtype="uint8", name="pixels")
    scaled = layers.Rescaling(1.0 / 127.5, offset=-1.0, dtype="float32", name="scale")(pixels)
    for number in range(config.smoothing):
        smooth = layers.AveragePooling2D(
            2, strides=1, padding="same", dtype="float32", name=f"smooth_{number}"
        )
        scaled = smooth(scaled)
    rgb = layers.Concatenate(name="repeat_channel")([scaled, scaled, scaled])
    maps = list(_backbone(config)(rgb))
    if config.head in POOLING_HEADS:
        pooled, logit, logit_map = _pooling_head(config, maps)
    else:
        pooled = layers.GlobalAveragePooling2D(name=POOLED)(maps[0])
        logit, logit_map = _map_head(config, maps[0])
    outputs = {"logit": logit, "logit_map": logit_map}
    shared = layers.Dropout(config.drop_rate, name="auxiliary_dropout")(pooled)
    for name in auxiliary:
        outputs[name] = layers.Dense(1, dtype="float32", name=name)(shared)
    return keras.Model(pixels, outputs, name="mammoscope")


def _backbone(config: TrainConfig) -> keras.Model:
    """The backbone without its top, with the maps that the head reads as a list of outputs."""
    build, depths, _ = _BACKBONES[config.backbone]
    base = build(include_top=False, weights=None, input_shape=(*config.input_size, 3))
    # The last map comes first, so that the layers, and so the weights, keep the base's order.
    names = depths if config.head == "depths" else depths[:1]
    outputs = [base.get_layer(name).output for name in names]
    return keras.Model(base.input, outputs, name="backbone")


def _map_head(config: TrainConfig, features: Any) -> tuple[Any, Any]:
    """Logit and logit map of a feature map (N, h, w, c), the first pooled from the second."""
    dropped = layers.SpatialDropout2D(config.drop_rate, name="dropout")(features)
    logit_map = layers.Conv2D(1, 1, dtype="float32", name="score")(dropped)
    if config.head == "mean":
        return ops.mean(logit_map, axis=(1, 2)), logit_map
    cells = float(logit_map.shape[1] * logit_map.shape[2])
    sharp = ops.logsumexp(LOG_SUM_EXP_SHARPNESS * logit_map, axis=(1, 2))
    return (sharp - float(np.log(cells))) / LOG_SUM_EXP_SHARPNESS, logit_map


def _pooling_head(config: TrainConfig, maps: list[Any]) -> tuple[Any, Any, Any]:
    """Pooled features, logit and logit map: mean and maximum of each map, standardised, weighted.

    The standardisation is set by `set_head`; until then it does nothing.
    """
    means = [layers.GlobalAveragePooling2D(dtype="float32")(m) for m in maps]
    peaks = [layers.GlobalMaxPooling2D(dtype="float32")(m) for m in maps]
    pooled = layers.Concatenate(name=POOLED, dtype="float32")([*means, *peaks])
    # Frozen like all batch normalisation here, hence (x - mean) / sqrt(variance).
    standard = layers.BatchNormalization(
        center=False, scale=False, epsilon=_EPSILON, dtype="float32", name="standardise"
    )
    standard.trainable = False
    dropped = layers.Dropout(config.drop_rate, name="dropout")(standard(pooled))
    logit = layers.Dense(1, dtype="float32", name="score")(dropped)
    grid = max(m.shape[1:3] for m in maps)
    parts = []
    for index, (features, peak) in enumerate(zip(maps, peaks, strict=True)):
        part = _evidence(f"{_AVERAGES}{index}")(features)
        part = part + _evidence(f"{_MAXIMA}{index}")(_at_peaks(features, peak))
        if tuple(features.shape[1:3]) != grid:
            part = layers.Resizing(*grid, interpolation="bilinear", dtype="float32")(part)
        parts.append(part)
    return pooled, logit, parts[0] if len(parts) == 1 else layers.Add(name="evidence")(parts)


_AVERAGES: Final = "evidence_of_averages_"
_MAXIMA: Final = "evidence_of_maxima_"


def _evidence(name: str) -> keras.layers.Layer:
    """What a map's features add to the logit, cell by cell; `_tie_map` fills it."""
    layer = layers.Conv2D(1, 1, use_bias=False, dtype="float32", name=name)
    layer.trainable = False
    return layer


def _at_peaks(features: Any, peak: Any) -> Any:
    """Each feature's maximum (N, c), divided among the cells (N, h, w, c) that hold it."""
    features = ops.cast(features, "float32")
    highest = peak[:, None, None, :]
    holders = ops.cast(features >= highest, "float32")
    cells = float(features.shape[1] * features.shape[2])
    # Times the cells, so that the mean over them is the maximum itself.
    return holders * (highest * cells / ops.sum(holders, axis=(1, 2), keepdims=True))


_EPSILON: Final = 1e-6
"""Least variance of a pooled feature that is divided by."""


def set_head(
    network: keras.Model, mean: Any, variance: Any, weights: Any, intercept: float
) -> None:
    """Fill a pooling head with a linear model of standardised features.

    Parameters
    ----------
    network
        With head ``mean_max`` or ``depths``.
    mean, variance, weights
        Of the D features of `POOLED`, each float (D,).
    intercept
        Of the linear model, in log-odds.
    """
    network.get_layer("standardise").set_weights([np.asarray(mean), np.asarray(variance)])
    kernel = np.asarray(weights, dtype=np.float32)[:, None]
    network.get_layer("score").set_weights([kernel, np.array([intercept], dtype=np.float32)])
    _tie_map(network)


def _tie_map(network: keras.Model) -> None:
    """Let the logit map of a pooling head show what averages and maxima add to the logit."""
    kernel = network.get_layer("score").get_weights()[0][:, 0]
    _, variance = network.get_layer("standardise").get_weights()
    scaled = kernel / np.sqrt(variance + _EPSILON)
    start = 0
    for kind in (_AVERAGES, _MAXIMA):
        for index in range(sum(layer.name.startswith(kind) for layer in network.layers)):
            layer = network.get_layer(f"{kind}{index}")
            (old,) = layer.get_weights()
            stop = start + old.size
            layer.set_weights([scaled[start:stop].reshape(old.shape)])
            start = stop


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
        _copy(_from_file(config, path), backbone)
        return False
    try:
        earlier = keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError) as err:
        raise ConfigurationError("The earlier run's network cannot be loaded.") from err
    names = {layer.name for layer in earlier.layers}
    if "backbone" not in names:
        raise ConfigurationError("The earlier run's network has no backbone of ours.")
    _copy(earlier.get_layer("backbone"), backbone)
    ours = {layer.name for layer in network.layers}
    head = [name for name in ("score", "standardise") if name in ours]
    if not names.issuperset(head):
        return False
    for name in head:
        _copy(earlier.get_layer(name), network.get_layer(name))
    return True


def _from_file(config: TrainConfig, path: Path) -> keras.Model:
    base = _BACKBONES[config.backbone].build(
        include_top=False, weights=None, input_shape=(*config.input_size, 3)
    )
    try:
        base.load_weights(path)
    except (OSError, ValueError) as err:
        raise ConfigurationError(
            f"The weights are not those of {config.backbone} without its top."
        ) from err
    return base


def _imagenet(config: TrainConfig) -> keras.Model:
    try:
        return _BACKBONES[config.backbone].build(
            include_top=False, weights="imagenet", input_shape=(*config.input_size, 3)
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


def choose_trainable(
    network: keras.Model, config: TrainConfig, trainable_from: str, *, head_learns: bool = True
) -> None:
    """Let the backbone learn from the named layer on; batch normalisation mostly stays frozen.

    Frozen batch normalisation keeps its statistics: batches are too small to estimate them. Only
    a backbone that starts from nothing, which has none to keep, learns them along.

    Parameters
    ----------
    network
        As `build_network` made it of `config`.
    config
        Names of the backbone and of its weights are used.
    trainable_from
        Name of a layer of the backbone; convolutions after it learn. ``auto``, ``all``, ``none``.
    head_learns
        Whether the weights that make the score of the features learn too.

    Raises
    ------
    ConfigurationError
        If the backbone has no layer of that name.
    """
    if trainable_from == _AUTO:
        trainable_from = _BACKBONES[config.backbone].learns_after
    network.get_layer("score").trainable = head_learns
    backbone = network.get_layer("backbone")
    backbone.trainable = True
    names = [layer.name for layer in backbone.layers]
    if trainable_from not in (_ALL, _NONE) and trainable_from not in names:
        raise ConfigurationError(
            "The backbone has no such layer to learn from; auto, all, none or a layer's name is "
            "allowed."
        )
    learns = trainable_from == _ALL
    from_scratch = config.weights == "none"
    for layer in backbone.layers:
        normalises = isinstance(layer, layers.BatchNormalization)
        layer.trainable = learns and (from_scratch or not normalises)
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
    if config.head in POOLING_HEADS:
        _tie_map(network)
    return network
