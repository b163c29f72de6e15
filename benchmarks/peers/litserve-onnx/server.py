"""LitServe with ONNX Runtime: one worker per processor, each with one thread."""

import io
import os

import litserve as ls
import numpy as np
import onnxruntime
from fastapi import UploadFile
from PIL import Image

HEIGHT, WIDTH, CHANNELS = (int(os.environ[name]) for name in ("HEIGHT", "WIDTH", "CHANNELS"))
MODE = {1: "L", 3: "RGB"}[CHANNELS]


class MammogramAPI(ls.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["ONNX_MODEL"], options, providers=["CPUExecutionProvider"]
        )

    def decode_request(self, request: UploadFile):
        image = Image.open(io.BytesIO(request.file.read())).convert(MODE).resize((WIDTH, HEIGHT))
        return np.asarray(image).reshape(1, HEIGHT, WIDTH, CHANNELS)

    def predict(self, x):
        return self.session.run(["logit"], {"pixels": x})[0]

    def encode_response(self, output):
        return {"probability": float(1 / (1 + np.exp(-float(output[0, 0]))))}


if __name__ == "__main__":
    server = ls.LitServer(
        MammogramAPI(), accelerator="cpu", workers_per_device=len(os.sched_getaffinity(0))
    )
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False)
