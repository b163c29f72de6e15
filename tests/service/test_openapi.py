"""The API agrees with its description, whatever is sent."""

import re

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mammoscope.service.openapi import OPERATIONS
from mammoscope.service.problems import REFUSALS
from mammoscope.service.request_parsing import DICOM_TYPE
from mammoscope.settings.service import ServiceSettings
from tests.dicom_objects import mammogram_object
from tests.fake_engine import IMAGE, FakeEngine, app_with, assert_good, encoded, upload

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def make_app() -> Flask:
    # No name is resolved and nothing is fetched, whatever URLs are generated.
    return app_with(ServiceSettings(url_fetching=False, max_study_images=4), FakeEngine())


def images(*good: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from(good) | st.binary(max_size=200)


for media_type, strategy in {
    "image/png": images(IMAGE),
    "image/jpeg": images(encoded("JPEG")),
    "image/tiff": images(encoded("TIFF")),
    DICOM_TYPE: images(mammogram_object()),
}.items():
    schemathesis.openapi.media_type(media_type, strategy)

SCHEMA = schemathesis.openapi.from_wsgi("/openapi.json", make_app())


@SCHEMA.parametrize()
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_described(case: schemathesis.Case) -> None:
    case.call_and_validate(checks=CHECKS)


def test_every_route_is_described() -> None:
    app = make_app()
    endpoints = {rule.endpoint for rule in app.url_map.iter_rules()} - {"static"}
    assert set(OPERATIONS) == endpoints
    paths = app.test_client().get("/openapi.json").json["paths"]
    assert {"/predict", "/studies", "/v2/models/{name}/infer"} <= set(paths)
    assert len(paths) == len(endpoints)


@pytest.mark.parametrize("request_", ["plain", "explained", "study"])
def test_good_answers_are_as_described(request_: str) -> None:
    client = make_app().test_client()
    path, form = {
        "plain": ("/predict", upload(IMAGE)),
        "explained": ("/predict?explain=true", upload(IMAGE)),
        "study": ("/studies", upload(IMAGE, b"no image", patient="A", laterality="L")),
    }[request_]
    answer = client.post(path, **form)
    assert answer.status_code == 200
    operation = SCHEMA[path.split("?")[0]]["POST"]
    operation.validate_response(answer)


def test_docs_page_is_served() -> None:
    client = make_app().test_client()
    page = client.get("/docs")
    assert page.mimetype == "text/html"
    for path, operations in client.get("/openapi.json").json["paths"].items():
        assert path in page.text
        for operation in operations.values():
            for sample in operation.get("x-codeSamples", ()):
                assert sample["source"] in page.text
    for status, code in REFUSALS:
        assert f"<td>{status}</td><td><code>{code}</code></td>" in page.text
    assert "{&#34;" not in page.text, "schemas are told in words"
    anchors = set(re.findall(r'href="#([^"]+)"', page.text))
    assert anchors
    assert anchors <= set(re.findall(r'id="([^"]+)"', page.text))
    assert_good(client)
