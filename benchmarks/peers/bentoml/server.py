"""BentoML as its documentation serves images: a service class with a Pillow image as input."""

import os

import bentoml
import numpy as np
from PIL.Image import Image

HEIGHT, WIDTH = int(os.environ["HEIGHT"]), int(os.environ["WIDTH"])


@bentoml.service
class Mammogram:
    def __init__(self) -> None:
        import keras

        self.model = keras.saving.load_model(os.environ["KERAS_MODEL"], compile=False)

    @bentoml.api
    def predict(self, image: Image) -> dict:
        pixels = np.asarray(image.convert("L").resize((WIDTH, HEIGHT)))[None, :, :, None]
        logit = float(self.model.predict(pixels, verbose=0)["logit"][0, 0])
        return {"probability": float(1 / (1 + np.exp(-logit)))}
