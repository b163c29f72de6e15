"""Float network to 8 bits after training, by NNCF."""

import io
import logging
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, Final, Literal

import numpy as np

from mammoscope.errors import CompilationError, ConfigurationError, MammoscopeError
from mammoscope.export.blocks import CONVOLUTIONS, followers
from mammoscope.export.comparison import Logits
from mammoscope.export.comparison_images import Pixels
from mammoscope.model.artifact import Card
from mammoscope.model.conversion import import_openvino
from mammoscope.model.engine import LOGIT_RANK, make_engine

Bias = Literal["fast", "full"]

_BODY: Final = (*CONVOLUTIONS, "Relu")
"""Operations that end the part of the network in 8 bits, unless one channel comes out."""


def quantise(
    model: Any, images: Pixels, *, bias: Bias = "fast", in_float: Collection[str] = ()
) -> Any:
    """Compute convolutions in 8 bits, with ranges of values taken from images.

    Weights use all 8 bits, for which processors without VNNI are no match:
    `mammoscope.model.engine.load_engine` finds out whether the one it runs on is.

    Parameters
    ----------
    model
        OpenVINO model with input uint8 (1, H, W, 1); it is left as it is.
    images
        uint8 (M, H, W): ranges are taken from these.
    bias
        What rounding adds to each channel on average is taken off its bias: ``fast`` by what each
        convolution alone adds, ``full`` by what it adds after all that were rounded before it.
    in_float
        Names of operations that are left in float, besides those of the head.

    Raises
    ------
    ConfigurationError
        If nncf is not installed.
    CompilationError
        If the network cannot be quantised.
    """
    with _nncf() as nncf:
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet

        return nncf.quantize(
            model,
            nncf.Dataset(images, lambda image: image[None, :, :, None]),
            # Activations after ReLU are never negative: ranges of their own use all 8 bits.
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(images),
            fast_bias_correction=bias == "fast",
            ignored_scope=nncf.IgnoredScope(
                names=sorted({*head_of(model), *in_float}), validate=False
            ),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.DISABLE,
                # Ranges with the least error: the mean of the images' maxima cuts off what the
                # highest scores come of, the largest of them leaves few steps for all others.
                activations_range_estimator_params=RangeEstimatorParametersSet.HISTOGRAM,
            ),
        )


def straighten(model: Any, card: Card, images: Pixels, exact: Logits) -> Any:
    """Give a quantised network's logits the mean and the spread that they have in float.

    Rounding moves maxima over a map upwards, hence the logits of heads that pool maxima, all in
    one direction; and it cuts off the largest values, so that logits lie nearer to each other.
    Both are measured on the images of the calibration and taken back by factor and summand, the
    factor on the logit map as well.

    Parameters
    ----------
    model
        Quantised OpenVINO model; changed in place.
    card
        Of the model.
    images
        uint8 (M, H, W): those of the calibration.
    exact
        float32 (M,): what the network that it was made of says of them.

    Returns
    -------
    model
        The same.
    """
    rounded = make_engine(model, card).infer(images).logits
    factor, summand = line(rounded, exact)
    import_openvino()
    from openvino import opset13

    for result in model.get_results():
        straight = opset13.multiply(result.input_value(0), np.float32(factor))
        if len(result.get_output_partial_shape(0)) == LOGIT_RANK:
            straight = opset13.add(straight, np.float32(summand))
        result.input(0).replace_source_output(straight.output(0))
    model.validate_nodes_and_infer_types()
    return model


def line(found: Logits, wanted: Logits) -> tuple[float, float]:
    """Factor and summand that bring logits, float32 (M,), nearest to others, by least squares."""
    (spread, shared), _ = np.cov(found, wanted, ddof=0, dtype=np.float64)
    factor = float(shared / spread) if spread else 1.0
    return factor, float(
        np.mean(wanted, dtype=np.float64) - factor * np.mean(found, dtype=np.float64)
    )


def head_of(model: Any) -> frozenset[str]:
    """Names of all operations after the last convolutions and their activations.

    They cost next to nothing in float. The head divides pooled features by their spread, so that
    what is small in a map counts as much as what is large: pooled from maps in 8 bits, which have
    one step for all channels, small features would be little but rounding.
    """
    names: set[str] = set()
    for node in reversed(model.get_ordered_ops()):
        kind = node.get_type_name()
        if kind in _BODY and _channels(node) != 1:
            continue
        if all(each.get_friendly_name() in names for each in followers(node)):
            names.add(node.get_friendly_name())
    return frozenset(names)


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
