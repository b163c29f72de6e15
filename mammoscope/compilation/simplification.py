"""A converted network brought into the form that quantisation and OpenVINO's kernels expect.

Keras keeps channels last, OpenVINO computes with channels first, and Keras' OpenVINO backend puts
a transposition on either side of each convolution, and one before its weights. They keep weights
from being quantised, and bias and activation from becoming part of the convolution.
"""

from typing import Any, Final

import numpy as np

from mammoscope.engine import import_openvino

_TO_LAST: Final = (0, 2, 3, 1)
"""(N, C, h, w) to (N, h, w, C)."""

_TO_FIRST: Final = (0, 3, 1, 2)

_POINTWISE: Final = frozenset(
    {"Add", "Subtract", "Multiply", "Divide", "Maximum", "Minimum", "Relu", "Clamp", "Sigmoid",
     "Tanh", "Elu"}
)  # fmt: skip
"""Operations that do the same in any order of axes."""


def simplify(model: Any) -> None:
    """Fold constants and let transpositions cancel each other out, in place.

    Parameters
    ----------
    model
        OpenVINO model; what it computes stays the same.
    """
    _fold(model)
    for node in model.get_ordered_ops():
        _move_down(node)
    model.validate_nodes_and_infer_types()
    _fold(model)


def _fold(model: Any) -> None:
    import_openvino()
    # What OpenVINO's own converter runs at its end; it has no other name.
    from openvino import _offline_transformations as transformations

    transformations.apply_moc_transformations(model, cf=True)


def _move_down(node: Any) -> None:
    """Transpose what a node puts out instead of what it takes in, where it makes no difference."""
    kind = node.get_type_name()
    if kind != "Concat" and kind not in _POINTWISE:
        return
    sources = [port.get_source_output() for port in node.inputs()]
    ranks = [len(source.get_partial_shape()) for source in sources]
    if max(ranks) > 4 or not any(_is_transposed(source) for source in sources):
        return
    if kind == "Concat":
        node.set_attribute("axis", _TO_LAST[node.get_attributes()["axis"] % 4])
    for port, source, rank in zip(node.inputs(), sources, ranks, strict=True):
        if rank:  # a number without axes needs no transposition
            port.replace_source_output(_channels_first(source, rank))
    followers = node.output(0).get_target_inputs()
    node.validate_and_infer_types()
    last = _transposed(node.output(0), _TO_LAST)
    for follower in followers:
        follower.replace_source_output(last)


def _channels_first(source: Any, rank: int) -> Any:
    if _is_transposed(source):
        return source.get_node().input_value(0)
    if rank < 4:  # aligned at the last axis
        axes = np.arange(4 - rank, dtype=np.int32)
        source = _operations().unsqueeze(source, axes).output(0)
    return _transposed(source, _TO_FIRST)


def _transposed(source: Any, order: tuple[int, ...]) -> Any:
    return _operations().transpose(source, np.array(order, dtype=np.int32)).output(0)


def _operations() -> Any:
    import_openvino()
    from openvino import opset13

    return opset13


def _is_transposed(source: Any) -> bool:
    """Whether this is (N, C, h, w) with its channels moved last."""
    node = source.get_node()
    if node.get_type_name() != "Transpose":
        return False
    order = node.input_value(1).get_node()
    return order.get_type_name() == "Constant" and tuple(order.data.tolist()) == _TO_LAST
