"""MLServer with a custom `MLModel`, as documented for models without a runtime.

Its workers need an event loop that uvloop has not provided since 0.22, so requirements.txt has an
older uvloop.
"""

import io
import os

import numpy as np
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from PIL import Image

HEIGHT, WIDTH, CHANNELS = (int(os.environ[name]) for name in ("HEIGHT", "WIDTH", "CHANNELS"))
MODE = {1: "L", 3: "RGB"}[CHANNELS]


class Mammogram(MLModel):
    async def load(self) -> bool:
        import keras

        self.model = keras.saving.load_model(os.environ["KERAS_MODEL"], compile=False)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (data,) = self.decode(payload.inputs[0], default_codec=Base64Codec)
        image = Image.open(io.BytesIO(data)).convert(MODE).resize((WIDTH, HEIGHT))
        pixels = np.asarray(image).reshape(1, HEIGHT, WIDTH, CHANNELS)
        logit = self.model.predict(pixels, verbose=0)["logit"]
        probability = 1 / (1 + np.exp(-logit.astype("float64")))
        return InferenceResponse(
            model_name=self.name,
            outputs=[NumpyCodec.encode_output("probability", probability)],
        )
