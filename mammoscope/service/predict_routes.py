"""The routes that take images: `/predict` and `/studies`."""

import base64
import io
from functools import partial
from typing import Final

from flask import Blueprint, Response, jsonify, request
from PIL import Image

from mammoscope.errors import InvalidRequestError
from mammoscope.imaging import heat_map
from mammoscope.imaging.arrays import Pixels
from mammoscope.imaging.dicom import Pseudonyms
from mammoscope.model.prediction import Prediction
from mammoscope.service.predicting import Predictor
from mammoscope.service.request_parsing import study_submission, submission
from mammoscope.service.schemas import HEAT_MAP_TYPE, HeatMap
from mammoscope.studies import aggregate, predict_image

_COMPRESSION: Final = 1
"""zlib's fastest level: better compression would take longer than drawing."""

_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False}


def blueprint(predictor: Predictor) -> Blueprint:
    """Return the routes that predict images."""
    routes = Blueprint("images", __name__)
    operating_point = predictor.settings.operating_point

    @routes.post("/predict")
    def predict() -> Response:
        explain = _flag("explain")
        with predictor.slot() as slot:
            with slot.uploading():
                submitted = submission(request, predictor.settings, slot.hold)
            with predictor.running(slot):
                image = predictor.read(submitted.image, slot, display=explain)
                prediction = predictor.predict(
                    image, operating_point=operating_point, age=submitted.age
                )
                if image.display is None:
                    return jsonify(prediction.to_json())
                png = draw_heat_map(image.display, prediction)
        if request.accept_mimetypes.best_match(["application/json", HEAT_MAP_TYPE]) == (
            HEAT_MAP_TYPE
        ):
            return Response(png, content_type=HEAT_MAP_TYPE)
        drawn = HeatMap(media_type=HEAT_MAP_TYPE, base64=base64.b64encode(png).decode("ascii"))
        return jsonify(prediction.to_json() | {"heat_map": drawn.to_json()})

    @routes.post("/studies")
    def studies() -> Response:
        with predictor.slot(many=True) as slot:
            with slot.uploading():
                submitted = study_submission(request, predictor.settings)
            # A new key for each study, so that pseudonyms of two answers cannot be linked.
            key = Pseudonyms.new_key()
            with predictor.running(slot):
                images = [
                    predict_image(
                        predictor,
                        image.name,
                        partial(predictor.read, image.data, slot, pseudonym_key=key),
                        image.placement,
                        operating_point,
                    )
                    for image in submitted
                ]
        return jsonify(aggregate(images, predictor.card, operating_point).to_json())

    return routes


def draw_heat_map(display: Pixels, prediction: Prediction) -> bytes:
    """Draw the heat map of a prediction over the image, as an encoded PNG."""
    drawn = heat_map.overlay(display, prediction.logit_map, prediction.preprocessed)
    buffer = io.BytesIO()
    Image.fromarray(drawn).save(buffer, "PNG", compress_level=_COMPRESSION)
    return buffer.getvalue()


def _flag(name: str) -> bool:
    """Value of a boolean query parameter; False if it is missing."""
    given = request.args.get(name, "false").lower()
    if given not in _FLAGS:
        raise InvalidRequestError(f'"{name}" must be one of {", ".join(_FLAGS)}.')
    return _FLAGS[given]
