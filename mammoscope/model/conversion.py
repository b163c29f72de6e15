"""Convert a .keras file to an OpenVINO model, in the form that OpenVINO's kernels expect.

Keras stores channels last, but OpenVINO computes with channels first. Keras' OpenVINO backend
therefore transposes before and after each convolution and batch normalisation, and transposes
weights too. This prevents OpenVINO from fusing normalisation and activation into the convolution.
This module moves the transpositions until they cancel out.

Increase `mammoscope.model.cache.CONVERTER_VERSION` with every change of the output.
"""

import os
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from mammoscope.errors import ArtifactError, ArtifactMismatchError, CompilationError
from mammoscope.model.average_pooling import merge_averages
from mammoscope.model.fake_quantisation import insert_ranges

DAMAGED: Final = "The network is damaged or of another kind."


_POINTWISE: Final = frozenset({"Add", "Subtract", "Multiply", "Divide", "Maximum", "Minimum",
                               "Relu", "Clamp", "Sigmoid", "Tanh", "Elu"})  # fmt: skip
"""Operations that are independent of the order of axes."""

_AXES: Final = 4

Order = tuple[int, ...]


def convert_network(network: Path, ranges: Mapping[str, float] | None = None) -> Any:
    """Convert a .keras file to an OpenVINO model that takes one image at a time.

    Parameters
    ----------
    network
        The .keras file.
    ranges
        Ends of the ranges of inputs of the backbone's convolutions that compute in 8 bits, by
        layer.

    Raises
    ------
    ArtifactMismatchError
        If the file is not a network, or lacks one of these layers.
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
            "Keras, which is needed to compile the model, is not installed here. Run mammoscope "
            "compile --output DIR where Keras is installed."
        ) from err

    temporary = temporary_folder()
    try:
        with temporary as folder:
            loaded = keras.saving.load_model(network, compile=False)
            path = Path(folder) / "network.xml"
            loaded.export(str(path), format="openvino", verbose=False)
            # Copied, not memory-mapped, because the file is deleted next.
            core.set_property({"ENABLE_MMAP": False})
            model = core.read_model(path)
        # With all sizes known, OpenVINO plans its memory and kernels only once.
        _, *size = model.input(0).partial_shape
        model.reshape([1, *(length.get_length() for length in size)])
        _simplify(model)
        merge_averages(model)
        kernels = _kernels(loaded, ranges) if ranges else {}
    # Keras and OpenVINO raise many types of exceptions for a damaged file.
    except Exception as err:
        raise ArtifactMismatchError(DAMAGED).at(network) from err
    if ranges:
        insert_ranges(model, kernels, ranges)
    return model


def _kernels(network: Any, names: Collection[str]) -> dict[str, Any]:
    """Return the kernels of some of the backbone's convolutions."""
    layers = network.get_layer("backbone").layers
    return {layer.name: layer.get_weights()[0] for layer in layers if layer.name in names}


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Make a temporary folder for compiling a model; raises `ArtifactError`."""
    try:
        return tempfile.TemporaryDirectory(prefix="mammoscope-")
    except OSError as err:
        raise ArtifactError("There is no temporary folder to compile the model in.") from err


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry package.

    OpenVINO and its tools work without that package. If it is installed, it would write an
    identifier into the user's folder and double the time of the import.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _simplify(model: Any) -> None:
    """Fold constants and cancel transpositions; the computed function does not change."""
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
    # OpenVINO's own converter runs this at its end; it has no public name.
    from openvino import _offline_transformations as transformations

    transformations.apply_moc_transformations(model, cf=True)


def _join(node: Any) -> None:
    """Merge two consecutive transpositions, or remove both if they cancel out."""
    first, second = _order(node.input_value(0)), _order(node.output(0))
    if first is None or second is None:
        return
    _replace(node, node.input_value(0).get_node().input_value(0), _after(first, second))


def _move_down(node: Any) -> None:
    """Move a transposition from a node's inputs to its output, if this is equivalent."""
    sources = [port.get_source_output() for port in node.inputs()]
    order = next((found for found in map(_order, sources) if found is not None), None)
    ranks = [len(source.get_partial_shape()) for source in sources]
    if order is None or max(ranks) > _AXES:
        return
    if node.get_type_name() == "Concat":
        node.set_attribute("axis", order[node.get_attributes()["axis"] % _AXES])
    undo = tuple(int(axis) for axis in np.argsort(order))
    for port, source, rank in zip(node.inputs(), sources, ranks, strict=True):
        if rank:  # scalars need no transposition
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
    """Return `source` with its axes in `order`; merges with a transposition that made `source`."""
    earlier = _order(source)
    if earlier is not None:
        source, order = source.get_node().input_value(0), _after(earlier, order)
    if order == tuple(range(_AXES)):
        return source
    return _operations().transpose(source, np.array(order, dtype=np.int32)).output(0)


def _after(first: Order, second: Order) -> Order:
    """Return the order of axes that equals two consecutive ones."""
    return tuple(first[axis] for axis in second)


def _order(output: Any) -> Order | None:
    """Order in which `output` takes four axes; None unless it is a constant transposition."""
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
