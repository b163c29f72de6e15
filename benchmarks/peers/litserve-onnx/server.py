"""LitServe with ONNX Runtime: one worker per processor, each with one thread."""

import io
import os

import litserve as ls
import numpy as np
import onnxruntime
from fastapi import UploadFile
from PIL import Image

HEIGHT, WIDTH = int(os.environ["HEIGHT"]), int(os.environ["WIDTH"])


class MammogramAPI(ls.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["ONNX_MODEL"], options, providers=["CPUExecutionProvider"]
        )

    def decode_request(self, request: UploadFile):
        image = Image.open(io.BytesIO(request.file.read())).convert("L").resize((WIDTH, HEIGHT))
        return np.asarray(image)[None, :, :, None]

    def predict(self, x):
        return self.session.run(["logit"], {"pixels": x})[0]

    def encode_response(self, output):
        return {"probability": float(1 / (1 + np.exp(-float(output[0, 0]))))}


if __name__ == "__main__":
    server = ls.LitServer(
        MammogramAPI(), accelerator="cpu", workers_per_device=len(os.sched_getaffinity(0))
    )
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False)
