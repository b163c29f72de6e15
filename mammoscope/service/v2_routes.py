"""The Open Inference Protocol, version 2, for clients of other servers.

The model takes either ``image``, encoded images as BYTES, or ``pixels``, images preprocessed as
`mammoscope.imaging.preprocessing` does as UINT8.
"""

from typing import Any, Final

import numpy as np
from flask import Blueprint, Response, request

from mammoscope import __version__
from mammoscope.errors import InvalidRequestError, NotReadyError, UnknownModelError
from mammoscope.model.prediction import CLASS_NAMES
from mammoscope.service.predicting import Judging
from mammoscope.service.request_parsing import whole_body
from mammoscope.service.request_queue import Visit
from mammoscope.service.v2_tensors import (
    HEADER_LENGTH,
    Array,
    InferenceRequest,
    parse_request,
    write_response,
)

MODEL_NAME: Final = "mammoscope"
IMAGE: Final = "image"
PIXELS: Final = "pixels"

_OUTPUTS: Final = {"probability": ("FP32", [-1]), "logit": ("FP32", [-1]), "label": ("BYTES", [-1])}
"""Datatype and shape of what is answered for N images."""


def blueprint(judging: Judging) -> Blueprint:
    """Return the routes of the protocol."""
    routes = Blueprint("inference", __name__, url_prefix="/v2")

    @routes.get("")
    def server() -> dict[str, Any]:
        return {"name": MODEL_NAME, "version": __version__, "extensions": ["binary_tensor_data"]}

    @routes.get("/health/live")
    def live() -> dict[str, Any]:
        return {"live": True}

    @routes.get("/health/ready")
    def ready() -> dict[str, Any]:
        if judging.admission.draining:
            raise NotReadyError("The service is about to stop.")
        return {"ready": bool(judging.card)}

    @routes.get("/models/<name>")
    def metadata(name: str) -> dict[str, Any]:
        _require_name(name)
        height, width = judging.card.input_size
        return {
            "name": name,
            "versions": [judging.card.version],
            "platform": "openvino",
            "inputs": [
                {"name": IMAGE, "datatype": "BYTES", "shape": [-1]},
                {"name": PIXELS, "datatype": "UINT8", "shape": [-1, height, width]},
            ],
            "outputs": [
                {"name": output, "datatype": datatype, "shape": shape}
                for output, (datatype, shape) in _OUTPUTS.items()
            ],
        }

    @routes.get("/models/<name>/ready")
    def model_ready(name: str) -> dict[str, Any]:
        _require_name(name)
        return {"name": name, "ready": bool(judging.card)}

    @routes.post("/models/<name>/infer")
    def infer(name: str) -> Response:
        _require_name(name)
        with judging.visit(many=True) as visit:
            with visit.uploading():
                received = whole_body(request)
            with judging.turn(visit):  # parsing takes time and memory, so few do it at a time
                asked = parse_request(
                    received, request.headers.get(HEADER_LENGTH), max_values=_max_values(judging)
                )
                outputs = _outputs_wished(asked)
                image = _only_input(asked, judging)
                logits = _logits(image, judging, visit)
        probabilities = [judging.card.probability(logit, None)[0] for logit in logits]
        threshold = judging.card.threshold(judging.settings.operating_point)
        values: dict[str, Array | list[str]] = {
            "probability": np.array(probabilities, np.float32),
            "logit": np.array(logits, np.float32),
            "label": [CLASS_NAMES[int(each >= threshold)] for each in probabilities],
        }
        header = {"model_name": name, "model_version": judging.card.version}
        body, json_bytes = write_response(
            {**header, "id": asked.id} if asked.id else header,
            {output: (values[output], binary) for output, binary in outputs.items()},
        )
        if json_bytes is None:
            return Response(body, content_type="application/json")
        return Response(
            body, headers={HEADER_LENGTH: str(json_bytes)}, content_type="application/octet-stream"
        )

    return routes


def _require_name(name: str) -> None:
    if name != MODEL_NAME:
        raise UnknownModelError(f"There is no such model; there is {MODEL_NAME}.")


def _max_values(judging: Judging) -> int:
    """Pixels of as many images as a request may bring."""
    height, width = judging.card.input_size
    return judging.settings.max_study_pictures * height * width


def _outputs_wished(asked: InferenceRequest) -> dict[str, bool]:
    """Names of outputs, and whether each is wished as bytes."""
    if not set(asked.outputs) <= set(_OUTPUTS):
        raise InvalidRequestError(f"The outputs are {', '.join(_OUTPUTS)}.")
    return dict(asked.outputs) or dict.fromkeys(_OUTPUTS, asked.binary)


def _only_input(asked: InferenceRequest, judging: Judging) -> Array | list[bytes]:
    if len(asked.inputs) != 1:
        raise InvalidRequestError(f'There must be one input, "{IMAGE}" or "{PIXELS}".')
    ((name, given),) = asked.inputs.items()
    height, width = judging.card.input_size
    if name == IMAGE:
        fits = isinstance(given, list)
    elif name == PIXELS:
        fits = not isinstance(given, list) and given.shape[1:] == (height, width)
    else:
        fits = False
    most = judging.settings.max_study_pictures
    if not fits or not 0 < len(given) <= most:
        raise InvalidRequestError(
            f'The input must be "{IMAGE}", BYTES [N], or "{PIXELS}", UINT8 [N, {height}, {width}], '
            f"with N from 1 to {most}."
        )
    return given


def _logits(image: Array | list[bytes], judging: Judging, visit: Visit) -> list[float]:
    """Logit of each image; raises what reading and judging raise."""
    if not isinstance(image, list):
        return [float(logit) for logit in judging.score(image)]
    logits = []
    for encoded in image:
        mammogram = judging.read(encoded)
        visit.check()
        logits.append(judging.judge(mammogram).prediction.logit)
    return logits
