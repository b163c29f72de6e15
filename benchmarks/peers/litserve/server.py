"""LitServe as its documentation serves images: an upload, `LitAPI`'s four steps, one worker."""

import io
import os

import litserve as ls
import numpy as np
from fastapi import UploadFile
from PIL import Image

HEIGHT, WIDTH, CHANNELS = (int(os.environ[name]) for name in ("HEIGHT", "WIDTH", "CHANNELS"))
MODE = {1: "L", 3: "RGB"}[CHANNELS]


class MammogramAPI(ls.LitAPI):
    def setup(self, device):
        import keras

        self.model = keras.saving.load_model(os.environ["KERAS_MODEL"], compile=False)

    def decode_request(self, request: UploadFile):
        image = Image.open(io.BytesIO(request.file.read())).convert(MODE).resize((WIDTH, HEIGHT))
        return np.asarray(image).reshape(1, HEIGHT, WIDTH, CHANNELS)

    def predict(self, x):
        return self.model.predict(x, verbose=0)["logit"]

    def encode_response(self, output):
        return {"probability": float(1 / (1 + np.exp(-float(output[0, 0]))))}


if __name__ == "__main__":
    server = ls.LitServer(MammogramAPI(), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False)
