"""The routes that take images: `/predict` and `/studies`."""

import base64
import io
from functools import partial
from typing import Final

from flask import Blueprint, Response, jsonify, request
from PIL import Image

from mammoscope.imaging import heat_map
from mammoscope.imaging.arrays import Pixels
from mammoscope.imaging.dicom import Pseudonyms
from mammoscope.imaging.network_input import NetworkInput
from mammoscope.model.prediction import Prediction
from mammoscope.service.predicting import Predictor
from mammoscope.service.request_parsing import flag, study_submission, submission
from mammoscope.service.schemas import HEAT_MAP_TYPE, HeatMap, Layers
from mammoscope.studies import aggregate, predict_image

_COMPRESSION: Final = 1
"""zlib's fastest level: better compression would take longer than drawing."""


def blueprint(predictor: Predictor) -> Blueprint:
    """Return the routes that predict images."""
    routes = Blueprint("images", __name__)
    operating_point = predictor.settings.operating_point

    @routes.post("/predict")
    def predict() -> Response:
        explain, layers = flag(request, "explain"), flag(request, "layers")
        with predictor.slot() as slot:
            with slot.uploading():
                submitted = submission(request, predictor.settings, slot.hold)
            with predictor.running(slot):
                image = predictor.read(submitted.image, slot, display=explain or layers)
                prediction = predictor.predict(
                    image, operating_point=operating_point, age=submitted.age
                )
                if image.display is None:
                    return jsonify(prediction.to_json())
                drawn = {"layers": layers_of(image, prediction).to_json()} if layers else {}
                if not explain:
                    return jsonify(prediction.to_json() | drawn)
                png = draw_heat_map(image.display, prediction)
        if request.accept_mimetypes.best_match(["application/json", HEAT_MAP_TYPE]) == (
            HEAT_MAP_TYPE
        ):
            return Response(png, content_type=HEAT_MAP_TYPE)
        over = HeatMap(media_type=HEAT_MAP_TYPE, base64=base64.b64encode(png).decode("ascii"))
        return jsonify(prediction.to_json() | {"heat_map": over.to_json()} | drawn)

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
    return _png(drawn)


def layers_of(image: NetworkInput, prediction: Prediction) -> Layers:
    """Layers of a prediction; `image` has its display image."""
    made = prediction.preprocessed
    height, width = image.display.shape if image.display is not None else (1, 1)
    top, left, bottom, right = made.box
    heat, breast = heat_map.heat_map(prediction.logit_map, made)
    return Layers(
        preprocessed=base64.b64encode(_png(made.ranks)).decode("ascii"),
        heat=base64.b64encode(_png(heat_map.layer(prediction.logit_map, made))).decode("ascii"),
        heat_range=heat_map.heat_range(heat, breast),
        box=(top / height, left / width, bottom / height, right / width),
        mirrored=made.mirrored,
        inverted=made.inverted,
        laterality=image.laterality,
        view=image.view,
    )


def _png(drawn: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(drawn).save(buffer, "PNG", compress_level=_COMPRESSION)
    return buffer.getvalue()
