"""The Open Inference Protocol, version 2, for clients of other servers.

The model takes either ``image``, encoded images as BYTES, or ``pixels``, UINT8 images from
`mammoscope.imaging.preprocessing`.
"""

import math
from typing import Any, Final

import numpy as np
from flask import Blueprint, Response, request

from mammoscope import __version__
from mammoscope.errors import InvalidRequestError, UnknownModelError
from mammoscope.model.prediction import label_of
from mammoscope.service.predicting import Predictor
from mammoscope.service.readiness import Readiness
from mammoscope.service.request_parsing import whole_body
from mammoscope.service.request_queue import Slot
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
"""Datatype and shape of the outputs for N images."""


def blueprint(predictor: Predictor, readiness: Readiness) -> Blueprint:
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
        readiness.require()
        return {"ready": True}

    @routes.get("/models/<name>")
    def metadata(name: str) -> dict[str, Any]:
        _require_name(name)
        return {
            "name": name,
            "versions": [predictor.card.version],
            "platform": "openvino",
            "inputs": [
                {"name": IMAGE, "datatype": "BYTES", "shape": [-1]},
                {"name": PIXELS, "datatype": "UINT8", "shape": [-1, *predictor.card.input_shape]},
            ],
            "outputs": [
                {"name": output, "datatype": datatype, "shape": shape}
                for output, (datatype, shape) in _OUTPUTS.items()
            ],
        }

    @routes.get("/models/<name>/ready")
    def model_ready(name: str) -> dict[str, Any]:
        _require_name(name)
        return {"name": name, "ready": bool(predictor.card)}

    @routes.post("/models/<name>/infer")
    def infer(name: str) -> Response:
        _require_name(name)
        with predictor.slot(many=True) as slot:
            with slot.uploading():
                received = whole_body(request)
            with predictor.running(slot):  # few at once: parsing takes time and memory
                asked = parse_request(
                    received, request.headers.get(HEADER_LENGTH), max_values=_max_values(predictor)
                )
                outputs = _requested_outputs(asked)
                image = _only_input(asked, predictor)
                logits = _logits(image, predictor, slot)
        probabilities = [predictor.card.probability(logit, None)[0] for logit in logits]
        threshold = predictor.card.threshold(predictor.settings.operating_point)
        values: dict[str, Array | list[str]] = {
            "probability": np.array(probabilities, np.float32),
            "logit": np.array(logits, np.float32),
            "label": [label_of(each, threshold) for each in probabilities],
        }
        header = {"model_name": name, "model_version": predictor.card.version}
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
        raise UnknownModelError(f"There is no such model; the only model is {MODEL_NAME}.")


def _max_values(predictor: Predictor) -> int:
    """Maximum number of pixel values in a request."""
    return predictor.settings.max_study_images * math.prod(predictor.card.input_shape)


def _requested_outputs(asked: InferenceRequest) -> dict[str, bool]:
    """Names of the requested outputs, and whether each is requested as bytes."""
    if not set(asked.outputs) <= set(_OUTPUTS):
        raise InvalidRequestError(f"No such output; the outputs are {', '.join(_OUTPUTS)}.")
    return dict(asked.outputs) or dict.fromkeys(_OUTPUTS, asked.binary)


def _only_input(asked: InferenceRequest, predictor: Predictor) -> Array | list[bytes]:
    if len(asked.inputs) != 1:
        raise InvalidRequestError(f'There must be one input, "{IMAGE}" or "{PIXELS}".')
    ((name, given),) = asked.inputs.items()
    shape = predictor.card.input_shape
    if name == IMAGE:
        fits = isinstance(given, list)
    elif name == PIXELS:
        fits = not isinstance(given, list) and given.shape[1:] == shape
    else:
        fits = False
    most = predictor.settings.max_study_images
    if not fits or not 0 < len(given) <= most:
        raise InvalidRequestError(
            f'The input must be "{IMAGE}", BYTES [N], or "{PIXELS}", UINT8 '
            f"[N, {', '.join(map(str, shape))}], with N from 1 to {most}."
        )
    return given


def _logits(image: Array | list[bytes], predictor: Predictor, slot: Slot) -> list[float]:
    """Return the logit of each image; raises like the reader and the predictor."""
    if not isinstance(image, list):
        return [float(logit) for logit in predictor.infer(image).logits]
    return [predictor.predict(predictor.read(encoded, slot)).logit for encoded in image]
