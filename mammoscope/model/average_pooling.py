"""Merge consecutive average poolings of an OpenVINO model into one convolution.

The low passes before a network's first layer are such poolings of three channels. OpenVINO pads
these to 16 for each of them.

Increase `mammoscope.model.cache.CONVERTER_VERSION` with every change of the output.
"""

from typing import Any

import numpy as np
import numpy.typing as npt


def merge_averages(model: Any) -> None:
    """Replace averages of neighbours by a convolution of each channel, with the same result.

    If two neighbours are averaged, leaving out pixels beyond the edge equals repeating the edge.

    Parameters
    ----------
    model
        An ``openvino.Model`` with channels first; changed in place.
    """
    from openvino import opset13  # not at the top: see `mammoscope.model.conversion`

    for last in filter(_averages_two, model.get_ordered_ops()):
        if any(_averages_two(each.get_node()) for each in last.output(0).get_target_inputs()):
            continue
        weights, source = np.ones((1, 1)), last.output(0)
        while _averages_two(source.get_node()):
            weights = _joined(weights, source.get_node().get_attributes()["kernel"])
            source = source.get_node().input_value(0)
        below, right = (side - 1 for side in weights.shape)
        padded = opset13.pad(source, [0, 0, 0, 0], [0, 0, below, right], "edge")
        channels = source.get_partial_shape()[1].get_length()
        kernels = np.tile(weights.astype(np.float32), (channels, 1, 1, 1, 1))
        merged = opset13.group_convolution(padded, kernels, [1, 1], [0, 0], [0, 0], [1, 1])
        for follower in last.output(0).get_target_inputs():
            follower.replace_source_output(merged.output(0))
    model.validate_nodes_and_infer_types()


def _averages_two(node: Any) -> bool:
    """Whether a node averages each pixel with the next, along one side or both."""
    if node.get_type_name() != "AvgPool":
        return False
    facts = node.get_attributes()
    return bool(
        max(facts["kernel"]) <= 2
        and facts["exclude-pad"]
        and facts["strides"] == [1, 1]
        and facts["pads_begin"] == [0, 0]
        and facts["pads_end"] == [side - 1 for side in facts["kernel"]]
    )


def _joined(weights: npt.NDArray[np.float64], kernel: list[int]) -> npt.NDArray[np.float64]:
    """Return the weights of an average that is followed by one with these weights."""
    height, width = kernel
    joined = np.zeros((len(weights) + height - 1, weights.shape[1] + width - 1))
    for row in range(height):
        for column in range(width):
            joined[row : row + len(weights), column : column + weights.shape[1]] += weights
    return joined / (height * width)
