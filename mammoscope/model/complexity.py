"""Count a network's parameters and its operations per image."""

import math
from typing import Any

import keras
from keras import layers


def complexity(network: keras.Model) -> dict[str, int]:
    """Count parameters and operations.

    Returns
    -------
    dict
        ``parameters``, ``layers`` with weights, and ``multiply_adds``: the multiply-add operations
        of convolutions and dense layers per image, which are all but a few per cent of the work.
    """
    leaves = list(_leaves(network))
    return {
        "parameters": int(network.count_params()),
        "layers": sum(bool(layer.weights) for layer in leaves),
        "multiply_adds": sum(_multiply_adds(layer) for layer in leaves),
    }


def _leaves(model: keras.Model) -> list[keras.layers.Layer]:
    found: list[keras.layers.Layer] = []
    for layer in model.layers:
        found += _leaves(layer) if isinstance(layer, keras.Model) else [layer]
    return found


def _multiply_adds(layer: keras.layers.Layer) -> int:
    kernels: list[Any]
    if isinstance(layer, layers.SeparableConv2D):
        kernels = [layer.depthwise_kernel, layer.pointwise_kernel]
    elif isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)):
        kernels = [layer.kernel]
    else:
        return 0
    # Each weight of a kernel is used once in every cell of its output map.
    cells = math.prod(layer.output.shape[1:-1])
    return int(sum(math.prod(kernel.shape) for kernel in kernels) * cells)
