"""A network's blocks, and which share of its operations computes in 8 bits."""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

CONVOLUTIONS: Final = ("Convolution", "GroupConvolution")

_OPENING: Final = (*CONVOLUTIONS, "MaxPool", "AvgPool")
"""What a block begins with; bias, normalisation and activation belong to what they follow."""

_8_BITS: Final = ("i8", "u8")


@dataclass(frozen=True, slots=True)
class Block:
    """Part of a network that all values enter at one place and leave at one.

    In networks of branches, as Inception, or with shortcuts, as ResNet, these are the units that
    such networks are drawn in; in a chain each convolution is one.

    Parameters
    ----------
    number
        From 1, in the order of computation.
    title
        Number and size of the last map.
    names
        Of its operations in the OpenVINO model.
    operations
        Multiply-adds of its convolutions for one image.
    """

    number: int
    title: str
    names: tuple[str, ...]
    operations: int


def find_blocks(model: Any, beyond: Collection[str]) -> tuple[Block, ...]:
    """Divide a network where all its values pass through one operation.

    Parameters
    ----------
    model
        OpenVINO model with sizes known.
    beyond
        Names of operations that belong to no block.

    Returns
    -------
    tuple
        In the order of computation; each has at least one convolution.
    """
    body = [node for node in _computed(model) if node.get_friendly_name() not in beyond]
    place = {node.get_friendly_name(): number for number, node in enumerate(body)}
    parts: list[list[Any]] = [[]]
    reach, passed = 0, False
    for number, node in enumerate(body):
        if passed and node.get_type_name() in _OPENING:
            parts.append([])
            passed = False
        parts[-1].append(node)
        # No value computed earlier is needed later, so that this operation's are all there is.
        if reach <= number and any(each.get_type_name() in CONVOLUTIONS for each in parts[-1]):
            passed = True
        # What lies beyond the blocks comes after all of them.
        places = (place.get(each.get_friendly_name(), len(body)) for each in followers(node))
        reach = max(reach, *places, 0)
    if len(parts) > 1 and not _operations(parts[-1]):
        last = parts.pop()
        parts[-1] += last
    return tuple(
        Block(
            number,
            f"{number} ({_size(nodes)})",
            tuple(node.get_friendly_name() for node in nodes),
            _operations(nodes),
        )
        for number, nodes in enumerate(parts, 1)
        if _operations(nodes)
    )


def share_in_8_bits(model: Any) -> float:
    """Share of the multiply-adds of all convolutions whose weights are in 8 bits, in [0, 1]."""
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() in CONVOLUTIONS]
    every = _operations(nodes)
    return _operations([node for node in nodes if _in_8_bits(node)]) / every if every else 0.0


def _in_8_bits(node: Any) -> bool:
    """Whether the weights of a convolution are stored in 8 bits."""
    source = node.input_value(1).get_node()
    while source.get_input_size():
        source = source.input_value(0).get_node()
    return source.get_element_type().get_type_name() in _8_BITS


def _computed(model: Any) -> Iterator[Any]:
    """Operations that depend on the image, in the order of computation."""
    names: set[str] = set()
    for node in model.get_ordered_ops():
        sources = (port.get_source_output().get_node() for port in node.inputs())
        is_input = node.get_type_name() == "Parameter"
        if is_input or any(source.get_friendly_name() in names for source in sources):
            names.add(node.get_friendly_name())
            yield node


def followers(node: Any) -> Iterator[Any]:
    """Operations that take what an operation puts out."""
    for output in node.outputs():
        for port in output.get_target_inputs():
            yield port.get_node()


def _operations(nodes: list[Any]) -> int:
    """Multiply-adds of the convolutions among `nodes` for one image."""
    total = 0
    for node in nodes:
        if node.get_type_name() in CONVOLUTIONS:
            # What enters one value: kernels are (out, in, h, w), or (groups, out, in, h, w).
            kernel = list(node.input_value(1).get_shape())
            each = math.prod(kernel[1 if node.get_type_name() == CONVOLUTIONS[0] else 2 :])
            total += math.prod(node.output(0).get_shape()) * each
    return total


def _size(nodes: list[Any]) -> str:
    """Height, width and channels of the last map."""
    _, channels, height, width = nodes[-1].output(0).get_shape()
    return f"{height}x{width}x{channels}"
