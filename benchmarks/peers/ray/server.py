"""Ray Serve as in its TensorFlow tutorial: a deployment that serves a Keras model."""

import io
import os

import numpy as np
from PIL import Image
from ray import serve
from starlette.requests import Request

HEIGHT, WIDTH, CHANNELS = (int(os.environ[name]) for name in ("HEIGHT", "WIDTH", "CHANNELS"))
MODE = {1: "L", 3: "RGB"}[CHANNELS]


@serve.deployment
class Mammogram:
    def __init__(self, path: str) -> None:
        import keras

        self.model = keras.saving.load_model(path, compile=False)

    async def __call__(self, request: Request) -> dict:
        async with request.form() as form:
            image = Image.open(io.BytesIO(await form["image"].read()))
        image = image.convert(MODE).resize((WIDTH, HEIGHT))
        pixels = np.asarray(image).reshape(1, HEIGHT, WIDTH, CHANNELS)
        logit = float(self.model.predict(pixels, verbose=0)["logit"][0, 0])
        return {"probability": float(1 / (1 + np.exp(-logit)))}


if __name__ == "__main__":
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    serve.run(Mammogram.bind(os.environ["KERAS_MODEL"]), route_prefix="/predict", blocking=True)
