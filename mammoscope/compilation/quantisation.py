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
from mammoscope.engine import Engine, import_openvino
from mammoscope.errors import CompilationError, ConfigurationError, MammoscopeError

RANKED_PICTURES: Final = 48
"""Pictures by which the layers are found that cost most: each layer is tried on all of them."""

_WEIGHTED: Final = ("Convolution", "MatMul")


def quantise(model: Any, pictures: PreparedPictures) -> Any:
    """Compute convolutions in 8 bits, with ranges of values taken from pictures.

    Parameters
    ----------
    model
        OpenVINO model with input uint8 (1, H, W, 1); it is left as it is.
    pictures
        Those of the calibration are used.

    Raises
    ------
    ConfigurationError
        If nncf is not installed.
    CompilationError
        If the network cannot be quantised.
    """
    with _nncf() as nncf:
        return nncf.quantize(model, _calibration(nncf, pictures), **_options(nncf, model, pictures))


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
    """Names of the layers that make logit and logit map, and of all after them.

    They cost next to nothing in float, and what they round goes straight into the score.
    """
    names: set[str] = set()
    for node in model.get_ordered_ops():
        above = {
            source.get_source_output().get_node().get_friendly_name() for source in node.inputs()
        }
        ends = node.get_type_name() in _WEIGHTED and _channels(node) == 1
        if ends or above & names:
            names.add(node.get_friendly_name())
    return sorted(names)


def _channels(node: Any) -> int | None:
    """Output channels of a convolution (N, C, h, w) or a product (N, C)."""
    shape = node.output(0).partial_shape
    axis = 1 if node.get_type_name() == "Convolution" else -1
    return shape[axis].get_length() if shape[axis].is_static else None


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
