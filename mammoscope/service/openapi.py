"""OpenAPI document of all routes, generated from the routes and the models."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from flask import Blueprint, Flask, Response, current_app, render_template, request
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from mammoscope.errors import InvalidRequestError
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.model.prediction import AGES_YEARS, RESEARCH_USE_NOTICE
from mammoscope.service import problems, schemas
from mammoscope.service.authorization import KEY_HEADER, OPEN
from mammoscope.service.display_routes import DISPLAY_TYPE, WOMEN
from mammoscope.service.request_parsing import (
    AGE_FIELD,
    DICOM_TYPE,
    FILE_FIELD,
    LATERALITY_FIELD,
    PATIENT_FIELD,
    VIEW_FIELD,
)
from mammoscope.service.tracing import API_VERSION, CONTENT_POLICY
from mammoscope.service.v2_routes import MODEL_NAME
from mammoscope.service.v2_tensors import RequestHeader
from mammoscope.studies import StudyResult
from mammoscope.studies.grouping import STANDARD_VIEWS

JSON: Final = "application/json"
_FORM: Final = "multipart/form-data"
_BINARY: Final[Mapping[str, Any]] = {"type": "string", "format": "binary"}
_ADDRESS: Final = "http://127.0.0.1:9696"
_AGE: Final = {"type": "number", "minimum": AGES_YEARS[0], "maximum": AGES_YEARS[1]}

Schema = type[BaseModel] | Mapping[str, Any]
Content = Mapping[str, Schema]


@dataclass(frozen=True, slots=True)
class Operation:
    """Summary, request and answer of a route; contents map media types to schemas.

    ``example`` has the arguments of ``curl``; ``{}`` is replaced by the service's address.
    """

    summary: str
    answers: Content
    example: str = ""
    takes: Content = field(default_factory=dict)
    query: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def _form(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [FILE_FIELD],
        "additionalProperties": False,
    }


def _each(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": values, "minItems": 1}


_OBJECT: Final[Mapping[str, Any]] = {"type": "object"}
_PAGE: Final[Content] = {"text/html": {"type": "string"}}

_FLAG: Final[Mapping[str, Any]] = {"type": "boolean"}
_ARGUMENTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "name": {"type": "string", "examples": [MODEL_NAME]},
    "woman": {"type": "integer", "minimum": 0, "maximum": WOMEN - 1},
    "laterality": {"enum": [*map(str, Laterality)]},
    "view": {"enum": [*map(str, STANDARD_VIEWS)]},
}
"""Parts of paths."""

_IMAGE: Final[Content] = {
    _FORM: _form({FILE_FIELD: _BINARY, AGE_FIELD: _AGE}),
    JSON: schemas.UrlRequest,
    "image/jpeg": _BINARY,
    "image/png": _BINARY,
    "image/tiff": _BINARY,
    DICOM_TYPE: _BINARY,
}

OPERATIONS: Final[Mapping[str, Operation]] = {
    "images.predict": Operation(
        "Predict one image",
        {JSON: schemas.PredictionAnswer, "image/png": _BINARY},
        "--form file=@mammogram.jpg {}/predict",
        takes=_IMAGE,
        query={"explain": _FLAG, "layers": _FLAG, AGE_FIELD: _AGE},
    ),
    "display.display": Operation(
        "Show one image: its grey values, little-endian uint16 row by row; headers say the rest",
        {DISPLAY_TYPE: _BINARY},
        "--form file=@mammogram.jpg --output values.bin --dump-header headers.txt {}/display",
        takes=_IMAGE,
        query={"full": _FLAG},
    ),
    "images.studies": Operation(
        "Predict the images of a study",
        {JSON: StudyResult},
        "--form file=@right-cc.dcm --form file=@right-mlo.dcm {}/studies",
        takes={
            _FORM: _form(
                {
                    FILE_FIELD: _each(_BINARY),
                    PATIENT_FIELD: _each({"type": "string"}),
                    LATERALITY_FIELD: _each({"enum": [*map(str, Laterality), ""]}),
                    VIEW_FIELD: _each({"enum": [*map(str, View), ""]}),
                }
            )
        },
    ),
    "service.model": Operation("The model's card", {JSON: schemas.ModelAnswer}),
    "service.healthz": Operation("Liveness probe", {JSON: schemas.StatusAnswer}),
    "service.readyz": Operation("Readiness probe", {JSON: schemas.StatusAnswer}),
    "inference.server": Operation("Inference protocol: the server", {JSON: _OBJECT}),
    "inference.live": Operation("Inference protocol: liveness probe", {JSON: _OBJECT}),
    "inference.ready": Operation("Inference protocol: readiness probe", {JSON: _OBJECT}),
    "inference.metadata": Operation("Inference protocol: the model", {JSON: _OBJECT}),
    "inference.model_ready": Operation(
        "Inference protocol: readiness of the model", {JSON: _OBJECT}
    ),
    "inference.infer": Operation(
        "Inference protocol: predict images, encoded or preprocessed",
        {JSON: schemas.InferenceAnswer, "application/octet-stream": _BINARY},
        takes={JSON: RequestHeader, "application/octet-stream": _BINARY},
    ),
    "display.phantom": Operation("A drawn mammogram", {DICOM_TYPE: _BINARY}),
    "page.page": Operation("The web page", _PAGE),
    "page.card": Operation("The model's card, to read", _PAGE),
    "description.openapi": Operation("This OpenAPI document", {JSON: _OBJECT}),
    "description.docs": Operation("This documentation", _PAGE),
}
"""All endpoints except static files, in the order of the document; a test checks that none is
missing."""


def require_known_parameters() -> None:
    """Refuse a query parameter that the requested operation would ignore.

    Raises
    ------
    InvalidRequestError
        If there is one, and the operation takes a body.
    """
    operation = OPERATIONS.get(request.endpoint or "")
    if operation is None or not operation.takes:
        return
    if set(request.args) - set(operation.query):
        allowed = ", ".join(operation.query) or "none"
        raise InvalidRequestError(
            f"The request has an unknown query parameter; allowed here: {allowed}."
        )


def describe(app: Flask, *, keys: bool) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of all routes of `app`.

    Parameters
    ----------
    app
        The application.
    keys
        Whether it requires API keys.
    """
    models: list[type[BaseModel]] = [schemas.Problem]
    for operation in OPERATIONS.values():
        for schema in (*operation.answers.values(), *operation.takes.values()):
            if isinstance(schema, type) and schema not in models:
                models.append(schema)
    _, definitions = models_json_schema(
        [(model, "serialization") for model in models], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, Any] = {}
    for endpoint, operation in OPERATIONS.items():
        (rule,) = app.url_map.iter_rules(endpoint)
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            described = _described(operation, sorted(rule.arguments))
            described["operationId"] = endpoint.replace(".", "_")
            if keys and rule.rule not in OPEN:
                described["security"] = [{"bearer": []}, {"basic": []}, {"header": []}]
            paths.setdefault(path, {})[method.lower()] = described
    shapes = definitions["$defs"]
    for shape in shapes.values():
        # Only the summary of a docstring: the rest is for readers of the code.
        shape["description"] = shape.get("description", "").split("\n\n")[0]
    shapes["Problem"]["properties"]["code"]["enum"] = sorted(
        {code for _, code in problems.REFUSALS}
    )
    components: dict[str, Any] = {"schemas": shapes}
    if keys:
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "basic": {"type": "http", "scheme": "basic"},
            "header": {"type": "apiKey", "in": "header", "name": KEY_HEADER},
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mammoscope",
            "version": API_VERSION,
            "description": RESEARCH_USE_NOTICE,
        },
        "paths": paths,
        "components": components,
    }


def _described(operation: Operation, arguments: list[str]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _ARGUMENTS[name]}
        for name in arguments
    ] + [
        {"name": name, "in": "query", "schema": schema} for name, schema in operation.query.items()
    ]
    described: dict[str, Any] = {
        "summary": operation.summary,
        "responses": {
            "200": {"description": "The answer", "content": _content(operation.answers)},
            "default": {
                "description": "A refusal",
                "content": _content({problems.MEDIA_TYPE: schemas.Problem}),
            },
        },
    }
    if operation.example:
        source = "curl " + operation.example.format(_ADDRESS)
        described["x-codeSamples"] = [{"lang": "Shell", "source": source}]
    if parameters:
        described["parameters"] = parameters
    if operation.takes:
        described["requestBody"] = {"required": True, "content": _content(operation.takes)}
    return described


def _content(schemas_by_type: Content) -> dict[str, Any]:
    return {
        media_type: {
            "schema": {"$ref": f"#/components/schemas/{schema.__name__}"}
            if isinstance(schema, type)
            else dict(schema)
        }
        for media_type, schema in schemas_by_type.items()
    }


def blueprint(*, keys: bool) -> Blueprint:
    """Return the routes of the documentation."""
    routes = Blueprint("description", __name__)

    @routes.get("/openapi.json")
    def openapi() -> dict[str, Any]:
        return describe(current_app, keys=keys)

    @routes.get("/docs")
    def docs() -> Response:
        page = Response(
            render_template(
                "docs.html", notice=RESEARCH_USE_NOTICE, refusals=problems.REFUSALS, keys=keys
            )
        )
        # The reference draws itself in a shadow tree, whose styles stand in its script.
        page.headers["Content-Security-Policy"] = CONTENT_POLICY.replace(
            "style-src 'self'", "style-src 'self' 'unsafe-inline'"
        )
        return page

    return routes
