"""Measure the machine's peak in matrix products, and count the network's multiply-adds.

Arguments: NETWORK.onnx SECONDS. Peaks are measured, not taken from a data sheet: the highest rate
of products of large square matrices with NumPy's and OpenVINO's kernels on all processors.
"""

import math
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import openvino
from openvino import opset13

from benchmarks.workers.timing import report

_SIDE: Final = 2048
"""Rows and columns: large enough for the full rate, small enough for many repetitions."""

_LEAST_PRODUCTS: Final = 5


def multiply_adds(model: Any) -> int:
    """Count the multiplications in an OpenVINO model's convolutions and matrix products.

    All other operations of a convolutional network are negligible and left out.

    Parameters
    ----------
    model
        The model, with all shapes known.
    """
    total = 0
    for operation in model.get_ordered_ops():
        kind = operation.get_type_name()
        if kind not in ("Convolution", "GroupConvolution", "MatMul"):
            continue
        outputs = math.prod(operation.output(0).shape)
        if kind == "MatMul":
            rows_and_terms = list(operation.input_value(0).shape)
            terms = rows_and_terms[-2 if operation.get_attributes()["transpose_a"] else -1]
        else:
            # (out, in, ...) or (groups, out, in, ...); in is the number of channels per group.
            weights = list(operation.input_value(1).shape)
            terms = math.prod(weights[1 if kind == "Convolution" else 2 :])
        total += outputs * terms
    return total


def _rates(product: Callable[[], object], seconds: float) -> list[float]:
    """Operations (two per multiply-add) per second of each product, after two warm-ups."""
    product()
    product()
    rates: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(rates) < _LEAST_PRODUCTS:
        began = time.perf_counter()
        product()
        rates.append(2 * _SIDE**3 / (time.perf_counter() - began))
    return rates


def _openvino_product(precision: str) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    left = opset13.parameter([_SIDE, _SIDE], np.float32)
    if precision == "int8":
        steps = rng.integers(-127, 128, (_SIDE, _SIDE), dtype=np.int8)
        right = opset13.multiply(
            opset13.convert(opset13.constant(steps), "f32"), np.float32(1 / 127)
        )
        bounds = [opset13.constant(np.float32(bound)) for bound in (0, 1, 0, 1)]
        factor = opset13.fake_quantize(left, *bounds, levels=256)
    else:
        right = opset13.constant(rng.random((_SIDE, _SIDE), np.float32))
        factor = left
    result = opset13.matmul(factor, right, transpose_a=False, transpose_b=False)
    # The output is a single number, so that writing the product is not measured.
    model = openvino.Model([opset13.reduce_max(result, np.array([0, 1]))], [left])
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
    request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()
    request.set_input_tensor(openvino.Tensor(rng.random((_SIDE, _SIDE), np.float32)))

    def product() -> object:
        return request.infer()

    return product


def _numpy_product() -> Callable[[], object]:
    rng = np.random.default_rng(0)
    left, right = (rng.random((_SIDE, _SIDE), np.float32) for _ in range(2))
    out = np.empty_like(left)
    return lambda: np.matmul(left, right, out=out)


def main() -> None:
    """Measure and print."""
    path, seconds = sys.argv[1], float(sys.argv[2])
    model = openvino.Core().read_model(path)
    _, *size = model.input(0).partial_shape
    model.reshape([1, *(length.get_length() for length in size)])
    peaks: dict[str, dict[str, list[float]]] = {
        "float32": {"NumPy": _rates(_numpy_product(), seconds)}
    }
    for precision in ("float32", "bf16", "int8"):
        peaks.setdefault(precision, {})["OpenVINO"] = _rates(_openvino_product(precision), seconds)
    report(("numpy", "openvino"), multiply_adds=multiply_adds(model), peaks_per_s=peaks)


if __name__ == "__main__":
    main()
