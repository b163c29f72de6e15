"""ONNX Runtime on all processors; ``--how`` is unused."""

import numpy as np
import onnxruntime

from benchmarks.workers.timing import Logits, Pixels, arguments, engine_results, report


def main() -> None:
    """Measure and print."""
    options = arguments()
    session = onnxruntime.InferenceSession(options.network, providers=["CPUExecutionProvider"])

    def score(pixels: Pixels) -> Logits:
        return np.asarray(session.run(["logit"], {"pixels": pixels})[0][:, 0], np.float32)

    report(("onnxruntime",), **engine_results(score, np.load(options.images), options.seconds))


if __name__ == "__main__":
    main()
