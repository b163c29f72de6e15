"""The routes that take images: one, or those of a study."""

import base64
import io
from functools import partial
from typing import Final

from flask import Blueprint, Response, jsonify, request
from PIL import Image

from mammoscope import studies as study
from mammoscope.errors import InvalidRequestError
from mammoscope.imaging import heat_map
from mammoscope.imaging.dicom import Pseudonyms
from mammoscope.imaging.mammogram import Mammogram
from mammoscope.model.engine import Judgement
from mammoscope.service.predicting import Judging
from mammoscope.service.request_parsing import study_submission, submission

HEAT_MAP_TYPE: Final = "image/png"

_COMPRESSION: Final = 1
"""zlib's fastest: a heat map is sent once, and would take longer to compress than to make."""

_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False}


def blueprint(judging: Judging) -> Blueprint:
    """Return the routes that answer about images."""
    routes = Blueprint("images", __name__)
    operating_point = judging.settings.operating_point

    @routes.post("/predict")
    def predict() -> Response:
        explain = _flag("explain")
        with judging.visit() as visit:
            with visit.uploading():
                submitted = submission(request, judging.settings, visit.hold)
            with judging.turn(visit):
                mammogram = judging.read(submitted.image)
                visit.check()
                judged = judging.judge(
                    mammogram, operating_point=operating_point, age=submitted.age
                )
                if not explain:
                    return jsonify(judged.prediction.to_json())
                heat_map = draw_heat_map(mammogram, judged)
        if request.accept_mimetypes.best_match(["application/json", HEAT_MAP_TYPE]) == (
            HEAT_MAP_TYPE
        ):
            return Response(heat_map, content_type=HEAT_MAP_TYPE)
        encoded = base64.b64encode(heat_map).decode("ascii")
        return jsonify(
            {
                **judged.prediction.to_json(),
                "heat_map": {"media_type": HEAT_MAP_TYPE, "base64": encoded},
            }
        )

    @routes.post("/studies")
    def studies() -> Response:
        with judging.visit(many=True) as visit:
            with visit.uploading():
                submitted = study_submission(request, judging.settings)
            # A key of its own: pseudonyms of one answer cannot be linked with those of another.
            pseudonyms = Pseudonyms()
            judged = []
            with judging.turn(visit):
                for image in submitted:
                    visit.check()
                    judged.append(
                        study.judge_image(
                            judging,
                            image.name,
                            partial(judging.read, image.data, pseudonyms),
                            image.placement,
                            operating_point,
                        )
                    )
        return jsonify(study.to_json(study.summarise(judged, judging.card, operating_point)))

    return routes


def draw_heat_map(mammogram: Mammogram, judged: Judgement) -> bytes:
    """Draw where the score came from over the image, as an encoded PNG."""
    drawn = heat_map.overlay(mammogram, judged.logit_map, judged.preprocessed)
    buffer = io.BytesIO()
    Image.fromarray(drawn).save(buffer, "PNG", compress_level=_COMPRESSION)
    return buffer.getvalue()


def _flag(name: str) -> bool:
    """Value of a query parameter that is true or false, false where it is not given."""
    given = request.args.get(name, "false").lower()
    if given not in _FLAGS:
        raise InvalidRequestError(f'"{name}" must be one of {", ".join(_FLAGS)}.')
    return _FLAGS[given]
