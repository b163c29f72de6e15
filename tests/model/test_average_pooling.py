"""Consecutive averages become one convolution, with the same result."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammoscope.model.average_pooling import merge_averages
from mammoscope.model.conversion import import_openvino

Pair = tuple[int, int]

pairs = st.lists(st.sampled_from([(1, 2), (2, 1), (2, 2)]), min_size=1, max_size=4)
sizes = st.tuples(st.integers(1, 3), st.integers(2, 20), st.integers(2, 20))


@settings(max_examples=30)
@given(pairs, sizes)
def test_merged_averages_give_the_same_result(kernels: list[Pair], size: Pair) -> None:
    model = averages(kernels, size)
    pixels = np.random.default_rng(0).random((1, *size), np.float32)
    expected = run(model, pixels)
    merge_averages(model)
    assert kinds(model).count("AvgPool") == 0
    assert kinds(model).count("GroupConvolution") == 1
    assert run(model, pixels) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "unlike",
    [
        {"kernel_shape": [3, 3], "pads_begin": [1, 1], "pads_end": [1, 1]},
        {"strides": [2, 2]},
        {"exclude_pad": False},
        {"pads_begin": [1, 1], "pads_end": [0, 0]},
    ],
)
def test_other_averages_stay(unlike: dict[str, Any]) -> None:
    model = averages([(2, 2)], (3, 8, 8), **unlike)
    merge_averages(model)
    assert kinds(model).count("AvgPool") == 1
    assert kinds(model).count("GroupConvolution") == 0


def test_an_average_with_two_followers_stays() -> None:
    model = averages([(2, 2), (2, 2)], (3, 8, 8), returns_all=True)
    pixels = np.random.default_rng(0).random((1, 3, 8, 8), np.float32)
    expected = [run(model, pixels, number) for number in range(2)]
    merge_averages(model)
    assert [run(model, pixels, number) for number in range(2)] == [
        pytest.approx(each, abs=1e-6) for each in expected
    ]


def averages(
    kernels: list[Pair], size: tuple[int, ...], *, returns_all: bool = False, **unlike: Any
) -> Any:
    openvino = import_openvino()
    from openvino import opset13

    pixels = opset13.parameter([1, *size], np.float32)
    found, outputs = pixels, []
    for height, width in kernels:
        options = {
            "strides": [1, 1],
            "pads_begin": [0, 0],
            "pads_end": [height - 1, width - 1],
            "kernel_shape": [height, width],
            "exclude_pad": True,
        }
        found = opset13.avg_pool(found, **{**options, **unlike})
        outputs.append(found)
    return openvino.Model(outputs if returns_all else [opset13.relu(found)], [pixels])


def kinds(model: Any) -> list[str]:
    return [node.get_type_name() for node in model.get_ordered_ops()]


def run(model: Any, pixels: np.ndarray, number: int = 0) -> np.ndarray:
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = import_openvino().Core().compile_model(model, "CPU", options)
    return compiled([pixels])[number].copy()
