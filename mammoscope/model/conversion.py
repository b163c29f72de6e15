"""A .keras as an OpenVINO model, in the form that OpenVINO's kernels expect.

Keras keeps channels last, OpenVINO computes with channels first, and Keras' OpenVINO backend
transposes before and after each convolution and each batch normalisation, and weights as well.
That keeps normalisation and activation from becoming part of the convolution. So transpositions
are moved until they cancel each other out.

A change of what comes out raises `mammoscope.model.cache.CONVERTER_VERSION`.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from mammoscope.errors import ArtifactError, ArtifactMismatchError, CompilationError

DAMAGED: Final = "The network is damaged or of another kind."


_POINTWISE: Final = frozenset({"Add", "Subtract", "Multiply", "Divide", "Maximum", "Minimum",
                               "Relu", "Clamp", "Sigmoid", "Tanh", "Elu"})  # fmt: skip
"""Operations that do the same in any order of axes."""

_AXES: Final = 4

Order = tuple[int, ...]


def convert_network(network: Path) -> Any:
    """Convert a .keras into an OpenVINO model that takes one image at a time.

    Raises
    ------
    ArtifactMismatchError
        If the file is no network.
    CompilationError
        If Keras is not installed.
    """
    core = import_openvino().Core()
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "openvino"
    try:
        import keras
    except ImportError as err:
        raise CompilationError(
            "Keras, which compiles the model, is not installed here; run mammoscope "
            "compile --output DIR where it is."
        ) from err

    temporary = temporary_folder()
    try:
        with temporary as folder:
            loaded = keras.saving.load_model(network, compile=False)
            path = Path(folder) / "network.xml"
            loaded.export(str(path), format="openvino", verbose=False)
            # Copied, not mapped: the file is gone in a moment.
            core.set_property({"ENABLE_MMAP": False})
            model = core.read_model(path)
        # With every size known, OpenVINO plans its memory and its kernels once.
        _, *size = model.input(0).partial_shape
        model.reshape([1, *(length.get_length() for length in size)])
        _simplify(model)
    # Keras and OpenVINO raise what their parsers happen to raise for a damaged file.
    except Exception as err:
        raise ArtifactMismatchError(DAMAGED) from err
    return model


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Make a folder to compile a model in, which goes when it is left; raises `ArtifactError`."""
    try:
        return tempfile.TemporaryDirectory(prefix="mammoscope-")
    except OSError as err:
        raise ArtifactError("There is no temporary folder to compile the model in.") from err


def import_openvino() -> Any:
    """Import OpenVINO without what reports its use to its makers.

    OpenVINO and its tools do without the package where it is not installed. Where it is, it would
    write an identifier into the user's folder and double the time of the import.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _simplify(model: Any) -> None:
    """Fold constants and let transpositions cancel each other out; what is computed stays."""
    _fold(model)
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind == "Transpose":
            _join(node)
        elif kind == "Concat" or kind in _POINTWISE:
            _move_down(node)
    model.validate_nodes_and_infer_types()
    _fold(model)


def _fold(model: Any) -> None:
    import_openvino()
    # What OpenVINO's own converter runs at its end; it has no other name.
    from openvino import _offline_transformations as transformations

    transformations.apply_moc_transformations(model, cf=True)


def _join(node: Any) -> None:
    """Make one of two transpositions in a row, or none where the second undoes the first."""
    first, second = _order(node.input_value(0)), _order(node.output(0))
    if first is None or second is None:
        return
    _replace(node, node.input_value(0).get_node().input_value(0), _after(first, second))


def _move_down(node: Any) -> None:
    """Transpose what a node puts out instead of what it takes in, where it makes no difference."""
    sources = [port.get_source_output() for port in node.inputs()]
    order = next((found for found in map(_order, sources) if found is not None), None)
    ranks = [len(source.get_partial_shape()) for source in sources]
    if order is None or max(ranks) > _AXES:
        return
    if node.get_type_name() == "Concat":
        node.set_attribute("axis", order[node.get_attributes()["axis"] % _AXES])
    undo = tuple(int(axis) for axis in np.argsort(order))
    for port, source, rank in zip(node.inputs(), sources, ranks, strict=True):
        if rank:  # a number without axes needs no transposition
            port.replace_source_output(_transposed(_with_all_axes(source, rank), undo))
    followers = node.output(0).get_target_inputs()
    node.validate_and_infer_types()
    turned = _transposed(node.output(0), order)
    for follower in followers:
        follower.replace_source_output(turned)


def _replace(node: Any, source: Any, order: Order) -> None:
    turned = _transposed(source, order)
    for follower in node.output(0).get_target_inputs():
        follower.replace_source_output(turned)


def _with_all_axes(source: Any, rank: int) -> Any:
    if rank == _AXES:
        return source
    axes = np.arange(_AXES - rank, dtype=np.int32)  # aligned at the last axis
    return _operations().unsqueeze(source, axes).output(0)


def _transposed(source: Any, order: Order) -> Any:
    """`source` with its axes in `order`; of a transposition, what it was made of is taken."""
    earlier = _order(source)
    if earlier is not None:
        source, order = source.get_node().input_value(0), _after(earlier, order)
    if order == tuple(range(_AXES)):
        return source
    return _operations().transpose(source, np.array(order, dtype=np.int32)).output(0)


def _after(first: Order, second: Order) -> Order:
    """The one order of axes that equals two in a row."""
    return tuple(first[axis] for axis in second)


def _order(output: Any) -> Order | None:
    """Order in which `output` takes four axes; None if it comes of no constant transposition."""
    node = output.get_node()
    if node.get_type_name() != "Transpose":
        return None
    order = node.input_value(1).get_node()
    if order.get_type_name() != "Constant" or order.data.size != _AXES:
        return None
    return tuple(int(axis) for axis in order.data)


def _operations() -> Any:
    import_openvino()
    from openvino import opset13

    return opset13
