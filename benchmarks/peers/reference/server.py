"""The reference project's design: Flask fetches a URL's image with keras_image_helper.

Its preprocessor is for networks that take float32 RGB. This network takes 8-bit grey, so
`preprocess` passes it the red channel, which equals the image if it is grey.
"""

import os

import keras
import numpy as np
from flask import Flask, jsonify, request
from keras_image_helper.base import BasePreprocessor

HEIGHT, WIDTH, CHANNELS = (int(os.environ[name]) for name in ("HEIGHT", "WIDTH", "CHANNELS"))


class Preprocessor(BasePreprocessor):
    def preprocess(self, X):  # noqa: N803 the base's name
        return X[..., :CHANNELS].astype("uint8")


model = keras.saving.load_model(os.environ["KERAS_MODEL"], compile=False)
preprocessor = Preprocessor(target_size=(WIDTH, HEIGHT))
app = Flask("mammogram")


@app.route("/predict", methods=["POST"])
def predict_endpoint():
    pixels = preprocessor.from_url(request.get_json()["url"])
    logit = float(model.predict(pixels, verbose=0)["logit"][0, 0])
    return jsonify({"probability": float(1 / (1 + np.exp(-logit)))})
