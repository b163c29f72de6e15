"""Write learned ranges into an OpenVINO model, which then computes convolutions in 8 bits.

OpenVINO does so if a ``FakeQuantize`` operation stands before a convolution's input, and its
weights are integers times a step. A network that learned to compute with quantised values
(`mammoscope.training.quantisation`) is converted like any other; then its ranges are inserted, or
removed where 8 bits give other scores.

Increase `mammoscope.model.cache.CONVERTER_VERSION` with every change of the output.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mammoscope.errors import ArtifactMismatchError

ACTIVATION_LEVELS: Final = 256
"""Values of an activation: unsigned, 8 bits."""

WEIGHT_LEVELS: Final = 255
"""Values of a weight: signed, 8 bits, symmetric."""

_FAKE_QUANTIZE: Final = "FakeQuantize"
_UNCHANGED: Final = frozenset({"Concat", "MaxPool"})
"""Operations whose outputs have the values of their inputs."""


def insert_ranges(
    model: Any, kernels: Mapping[str, npt.NDArray[np.float32]], ends: Mapping[str, float]
) -> None:
    """Insert the ranges of activations and weights.

    Parameters
    ----------
    model
        An ``openvino.Model``; changed in place.
    kernels
        Kernels as Keras stores them, float32 (h, w, in, out), by the name of their layer.
    ends
        End of the range from 0 of the input of each layer that computes in 8 bits.

    Raises
    ------
    ArtifactMismatchError
        If one of these layers is not a convolution of the model.
    """
    names = {
        np.ascontiguousarray(kernels[name].transpose(3, 2, 0, 1)).tobytes(): name
        for name in ends
        if name in kernels
    }
    left = set(ends)
    inserted: dict[Any, Any] = {}
    for node in model.get_ordered_ops():
        weights = node.input_value(1) if node.get_type_name() == "Convolution" else None
        if weights is None or weights.get_node().get_type_name() != "Constant":
            continue
        values = weights.get_node().data
        name = names.get(np.ascontiguousarray(values).tobytes())
        if name is None:
            continue
        left.discard(name)
        node.input(1).replace_source_output(_integers(values))
        _insert(node.input(0), np.float32(ends[name]), inserted)
    if left:
        raise ArtifactMismatchError("The card has ranges for layers that the network lacks.")
    model.validate_nodes_and_infer_types()


def remove_ranges(model: Any) -> None:
    """Remove what `insert_ranges` inserted; the network then computes in float32.

    The kernels become float32 again. OpenVINO gave wrong scores for integers without ranges.
    """
    from openvino import opset13

    for node in model.get_ordered_ops():
        if node.get_type_name() == _FAKE_QUANTIZE:
            for follower in node.output(0).get_target_inputs():
                follower.replace_source_output(node.input_value(0))
        if node.get_type_name() == "Convolution":
            product = node.input_value(1).get_node()
            if product.get_type_name() == "Multiply":
                convert, steps = (product.input_value(index).get_node() for index in (0, 1))
                kernel = convert.input_value(0).get_node().data.astype(np.float32) * steps.data
                node.input(1).replace_source_output(opset13.constant(kernel).output(0))
    model.validate_nodes_and_infer_types()


def _insert(port: Any, end: np.float32, inserted: dict[Any, Any]) -> None:
    """Insert a range before an input.

    A concatenation and a maximum get it before their inputs, with the same result: they then
    compute in 8 bits, too.
    """
    source = port.get_source_output()
    node = source.get_node()
    kind, name = node.get_type_name(), node.get_friendly_name()
    if kind in _UNCHANGED:
        if name not in inserted:
            inserted[name] = end
            for each in node.inputs():
                _insert(each, end, inserted)
        if inserted[name] == end:
            return
    if kind == _FAKE_QUANTIZE:
        return
    if (name, end) not in inserted:
        inserted[name, end] = _fake_quantize(source, end)
    port.replace_source_output(inserted[name, end])


def _fake_quantize(source: Any, end: np.float32) -> Any:
    from openvino import opset13  # not at the top: see `import_openvino`

    low = np.float32(0)
    return opset13.fake_quantize(source, low, end, low, end, ACTIVATION_LEVELS).output(0)


def _integers(kernel: npt.NDArray[np.float32]) -> Any:
    """Quantise a kernel (out, in, h, w) with a step for each output channel.

    OpenVINO would do the same whenever it loads the network, from four times as many bytes.
    """
    from openvino import opset13

    ends = np.abs(kernel).max(axis=(1, 2, 3), keepdims=True)
    steps = np.maximum(ends, np.float32(1e-12)) / np.float32(WEIGHT_LEVELS // 2)
    integers = opset13.constant(np.rint(kernel / steps).astype(np.int8))
    return opset13.multiply(opset13.convert(integers, "f32"), steps).output(0)
