"""Export the network to ONNX with Keras: NETWORK.keras NETWORK.onnx."""

import sys
from typing import Any

import keras
import numpy as np
import onnx


def main() -> None:
    """Convert."""
    source, target = sys.argv[1:]
    model = keras.saving.load_model(source, compile=False)
    # The export needs a network that has been called once.
    model(np.zeros((1, *model.input_shape[1:]), np.uint8))
    model.export(target, format="onnx", verbose=False)
    exported = onnx.load(target)
    raise_scales(exported)
    onnx.save(exported, target)


def raise_scales(model: Any) -> None:
    """Round the factors of every Resize up to the next float32.

    tf2onnx 1.17 writes 85 / 42 as the float32 just below it. 42 times that, rounded down as in
    ONNX, is 84, and the network cannot be loaded.
    """
    scales = {node.input[2] for node in model.graph.node if node.op_type == "Resize"}
    for tensor in model.graph.initializer:
        if tensor.name in scales:
            values = onnx.numpy_helper.to_array(tensor)
            # Integer factors are exact.
            raised = np.where(values % 1 == 0, values, np.nextafter(values, np.float32(np.inf)))
            tensor.CopyFrom(onnx.numpy_helper.from_array(raised.astype(np.float32), tensor.name))


if __name__ == "__main__":
    main()
