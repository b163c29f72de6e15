"""BentoML as its documentation serves images: a service class with a Pillow image as input."""

import os

import bentoml
import numpy as np
from PIL.Image import Image

HEIGHT, WIDTH, CHANNELS = (int(os.environ[name]) for name in ("HEIGHT", "WIDTH", "CHANNELS"))
MODE = {1: "L", 3: "RGB"}[CHANNELS]


@bentoml.service
class Mammogram:
    def __init__(self) -> None:
        import keras

        self.model = keras.saving.load_model(os.environ["KERAS_MODEL"], compile=False)

    @bentoml.api
    def predict(self, image: Image) -> dict:
        image = image.convert(MODE).resize((WIDTH, HEIGHT))
        pixels = np.asarray(image).reshape(1, HEIGHT, WIDTH, CHANNELS)
        logit = float(self.model.predict(pixels, verbose=0)["logit"][0, 0])
        return {"probability": float(1 / (1 + np.exp(-logit)))}
