"""Float network to 8 bits after training, by NNCF."""

import io
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, Final

import numpy as np

from mammoscope.artifact import Card
from mammoscope.compilation.comparison import Reference, loss
from mammoscope.compilation.pictures import PreparedPictures
from mammoscope.conversion import import_openvino
from mammoscope.engine import LOGIT_RANK, Engine, make_engine
from mammoscope.errors import CompilationError, ConfigurationError, MammoscopeError

RANKED_PICTURES: Final = 48
"""Pictures by which the layers are found that cost most: each layer is tried on all of them."""

_STEM: Final = 6
"""Maps higher than this fraction of the picture belong to the first convolutions: those that follow
at most two halvings."""

_BODY: Final = ("Convolution", "GroupConvolution", "Relu")
"""Operations that end the part of the network in 8 bits, unless one channel comes out."""


def quantise(model: Any, pictures: PreparedPictures, *, stem: bool = True) -> Any:
    """Compute convolutions in 8 bits, with ranges of values taken from pictures.

    Parameters
    ----------
    model
        OpenVINO model with input uint8 (1, H, W, 1); it is left as it is.
    pictures
        Those of the calibration are used.
    stem
        Whether the first convolutions, with the largest maps, compute in 8 bits too. What they
        round goes through all others.

    Raises
    ------
    ConfigurationError
        If nncf is not installed.
    CompilationError
        If the network cannot be quantised.
    """
    with _nncf() as nncf:
        options = _options(nncf, model, pictures)
        if not stem:
            names = _head(model) + _stem(model)
            options["ignored_scope"] = nncf.IgnoredScope(names=names, validate=False)
        return nncf.quantize(model, _calibration(nncf, pictures), **options)


def quantise_accuracy_aware(
    model: Any, card: Card, pictures: PreparedPictures, reference: Reference
) -> Any:
    """As `quantise`, but leave the layers that cost most in float until the scores are near enough.

    Takes long: each layer is tried in float. Errors are those of `quantise`.

    Parameters
    ----------
    model, pictures
        As of `quantise`; scores are held against `reference` on the pictures of the comparison.
    card
        Of the model.
    reference
        The float network's scores.
    """

    def validate(compiled: Any, indices: Iterable[int]) -> tuple[float, list[float]]:
        chosen = np.array(list(indices), dtype=np.int64)
        logits = Engine(compiled, card).score(pictures.comparison[chosen]).logits
        losses = reference.losses(logits, chosen)
        # Some pictures only, where layers are ranked: they have no AUC of their own.
        complete = chosen.size == len(pictures.labels)
        worst = loss(reference.compare(logits)) if complete else float(losses.max())
        # From 1 downwards: NNCF divides by what the float network gets.
        return 1.0 - worst, (1.0 - losses).tolist()

    with _nncf() as nncf:
        return nncf.quantize_with_accuracy_control(
            model,
            calibration_dataset=_calibration(nncf, pictures),
            validation_dataset=nncf.Dataset(range(len(pictures.labels))),
            validation_fn=validate,
            max_drop=1.0,
            drop_type=nncf.DropType.ABSOLUTE,
            advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
                ranking_subset_size=min(RANKED_PICTURES, len(pictures.labels))
            ),
            **_options(nncf, model, pictures, "advanced_quantization_parameters"),
        )


def recentre(model: Any, float_engine: Engine, pictures: PreparedPictures) -> Any:
    """Give a quantised network's logits the mean that they have in float, and return it.

    Rounding moves maxima over a map upwards, hence the logits of heads that pool maxima, all in
    one direction. What is added is measured on the pictures of the calibration.

    Parameters
    ----------
    model
        Quantised OpenVINO model; changed in place.
    float_engine
        Engine of the network that it was made of.
    pictures
        Those of the calibration are scored by both.
    """
    exact = float_engine.score(pictures.calibration).logits
    rounded = make_engine(model, float_engine.card).score(pictures.calibration).logits
    shift = np.array([[np.mean(exact - rounded, dtype=np.float64)]], dtype=np.float32)
    import_openvino()
    from openvino import opset13

    for result in model.get_results():
        if len(result.get_output_partial_shape(0)) == LOGIT_RANK:
            moved = opset13.add(result.input_value(0), shift)
            result.input(0).replace_source_output(moved.output(0))
    model.validate_nodes_and_infer_types()
    return model


def _calibration(nncf: Any, pictures: PreparedPictures) -> Any:
    return nncf.Dataset(pictures.calibration, lambda picture: picture[None, :, :, None])


def _options(
    nncf: Any, model: Any, pictures: PreparedPictures, advanced: str = "advanced_parameters"
) -> dict[str, Any]:
    return {
        # Activations after ReLU are never negative: ranges of their own use all 8 bits.
        "preset": nncf.QuantizationPreset.MIXED,
        "target_device": nncf.TargetDevice.CPU,
        "subset_size": len(pictures.calibration),
        "ignored_scope": nncf.IgnoredScope(names=_head(model), validate=False),
        # Weights of 7 bits: with 8, processors without VNNI overflow, and scores would depend on
        # the machine.
        advanced: nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
    }


def _head(model: Any) -> list[str]:
    """Names of all operations after the last convolutions and their activations.

    They cost next to nothing in float. The head divides pooled features by their spread, so that
    what is small in a map counts as much as what is large: pooled from maps in 8 bits, which have
    one step for all channels, small features would be little but rounding.
    """
    names: set[str] = set()
    for node in reversed(model.get_ordered_ops()):
        kind = node.get_type_name()
        followers = [port.get_node() for out in node.outputs() for port in out.get_target_inputs()]
        if kind in _BODY and _channels(node) != 1:
            continue
        if all(follower.get_friendly_name() in names for follower in followers):
            names.add(node.get_friendly_name())
    return sorted(names)


def _stem(model: Any) -> list[str]:
    """Names of the convolutions whose maps are not yet small."""
    height = model.input(0).partial_shape[1].get_length()
    return [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() in _BODY[:2]
        and node.output(0).partial_shape[2].get_length() * _STEM > height
    ]


def _channels(node: Any) -> int | None:
    """Channels of (N, C, h, w) that come out; None if they are not known."""
    shape = node.output(0).partial_shape
    return shape[1].get_length() if len(shape) > 1 and shape[1].is_static else None


@contextmanager
def _nncf() -> Iterator[Any]:
    """NNCF, silent but for its progress bars where somebody sees them.

    Raises
    ------
    ConfigurationError
        If it is not installed.
    CompilationError
        Of whatever it raises.
    """
    import_openvino()  # first, without what reports its use
    os.environ["NNCF_CI"] = "1"  # and where something imported that before: say nothing
    chatter = sys.stderr if sys.stderr.isatty() else io.StringIO()
    with redirect_stdout(chatter):
        try:
            import nncf
        except ImportError as err:
            raise ConfigurationError(
                "Quantisation needs nncf, which belongs to the training packages; --kind float "
                "does without."
            ) from err
        nncf.set_log_level(logging.CRITICAL)
        try:
            yield nncf
        except MammoscopeError:
            raise
        except Exception as err:
            raise CompilationError(
                "The network cannot be quantised; --kind float compiles it without."
            ) from err
