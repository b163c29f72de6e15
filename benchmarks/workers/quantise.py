"""Quantise an ONNX network for ONNX Runtime: NETWORK.onnx IMAGES.npy TARGET.onnx.

Static quantisation as ONNX Runtime's documentation recommends it for convolutional networks on
processors: QDQ nodes, weights with a range for each output channel, and activations with the ranges
that the images give. Without VNNI, weights have 7 bits, since sums of 8 bits saturate.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process


class _Images(CalibrationDataReader):  # type: ignore[misc, unused-ignore]  # it has no types
    def __init__(self, pixels: Any) -> None:
        self._images = iter(pixels)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next image as a batch; None after the last."""
        image = next(self._images, None)
        return None if image is None else {"pixels": image[None]}


def main() -> None:
    """Quantise."""
    network, images, target = sys.argv[1:]
    prepared = Path(target).with_suffix(".prepared.onnx")
    quant_pre_process(network, str(prepared), skip_symbolic_shape=True)
    has_vnni = "vnni" in Path("/proc/cpuinfo").read_text("utf-8")
    quantize_static(
        str(prepared),
        target,
        _Images(np.load(images)),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=not has_vnni,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    prepared.unlink()
    onnx.checker.check_model(target)


if __name__ == "__main__":
    main()
