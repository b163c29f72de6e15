"""BentoML with ONNX Runtime: one worker per processor, each with one thread."""

import os

import bentoml
import numpy as np
import onnxruntime
from PIL.Image import Image

HEIGHT, WIDTH = int(os.environ["HEIGHT"]), int(os.environ["WIDTH"])


@bentoml.service(workers=len(os.sched_getaffinity(0)))
class Mammogram:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["ONNX_MODEL"], options, providers=["CPUExecutionProvider"]
        )

    @bentoml.api
    def predict(self, image: Image) -> dict:
        pixels = np.asarray(image.convert("L").resize((WIDTH, HEIGHT)))[None, :, :, None]
        logit = float(self.session.run(["logit"], {"pixels": pixels})[0][0, 0])
        return {"probability": float(1 / (1 + np.exp(-logit)))}
