"""BentoML with ONNX Runtime: one worker per processor, each with one thread."""

import os

import bentoml
import numpy as np
import onnxruntime
from PIL.Image import Image

HEIGHT, WIDTH, CHANNELS = (int(os.environ[name]) for name in ("HEIGHT", "WIDTH", "CHANNELS"))
MODE = {1: "L", 3: "RGB"}[CHANNELS]


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
        image = image.convert(MODE).resize((WIDTH, HEIGHT))
        pixels = np.asarray(image).reshape(1, HEIGHT, WIDTH, CHANNELS)
        logit = float(self.session.run(["logit"], {"pixels": pixels})[0][0, 0])
        return {"probability": float(1 / (1 + np.exp(-logit)))}
