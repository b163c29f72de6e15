"""Ray Serve as in its TensorFlow tutorial: a deployment that serves a Keras model."""

import io
import os

import numpy as np
from PIL import Image
from ray import serve
from starlette.requests import Request

HEIGHT, WIDTH = int(os.environ["HEIGHT"]), int(os.environ["WIDTH"])


@serve.deployment
class Mammogram:
    def __init__(self, path: str) -> None:
        import keras

        self.model = keras.saving.load_model(path, compile=False)

    async def __call__(self, request: Request) -> dict:
        async with request.form() as form:
            image = Image.open(io.BytesIO(await form["image"].read()))
        pixels = np.asarray(image.convert("L").resize((WIDTH, HEIGHT)))[None, :, :, None]
        logit = float(self.model.predict(pixels, verbose=0)["logit"][0, 0])
        return {"probability": float(1 / (1 + np.exp(-logit)))}


if __name__ == "__main__":
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    serve.run(Mammogram.bind(os.environ["KERAS_MODEL"]), route_prefix="/predict", blocking=True)
