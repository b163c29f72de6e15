"""Heat maps and studies over HTTP."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from mammoscope.settings.service import ServiceSettings
from tests.dicom_objects import changed, mammogram_object
from tests.fake_engine import (
    IMAGE,
    FakeEngine,
    app_with,
    assert_good,
    assert_problem,
    encoded,
    upload,
)

SETTINGS = ServiceSettings(max_image_bytes=200_000, max_study_images=4, max_study_bytes=800_000)


@pytest.fixture
def client() -> FlaskClient:
    return app_with(SETTINGS, FakeEngine()).test_client()


def drawn(data: bytes) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        return np.asarray(image)


def test_heat_map_is_included_in_the_answer(client: FlaskClient) -> None:
    plain = client.post("/predict", **upload(IMAGE)).json
    explained = client.post("/predict?explain=true", **upload(IMAGE)).json
    heat_map = explained.pop("heat_map")
    assert explained == plain
    assert heat_map["media_type"] == "image/png"
    pixels = drawn(base64.b64decode(heat_map["base64"]))
    assert pixels.shape == (64, 96, 3)
    # Hottest below: yellow, that is red without blue; coldest above: blue.
    assert pixels[-1, 0, 0] > pixels[-1, 0, 2]
    assert pixels[0, 0, 2] > pixels[0, 0, 0]
    assert client.post("/predict?explain=false", **upload(IMAGE)).json == plain


def test_heat_map_alone_by_accept(client: FlaskClient) -> None:
    answer = client.post(
        "/predict?explain=1",
        **upload(IMAGE),
        headers={"Accept": "image/png, application/json;q=0.5"},
    )
    assert answer.content_type == "image/png"
    assert drawn(answer.data).shape == (64, 96, 3)
    for accept in ("*/*", "application/json", "text/html"):
        answer = client.post("/predict?explain=1", **upload(IMAGE), headers={"Accept": accept})
        assert answer.content_type == "application/json"
    refused = client.post(
        "/predict?explain=1", **upload(b"no image"), headers={"Accept": "image/png"}
    )
    assert_problem(refused, 415, "unsupported_image")


def test_explain_is_a_flag(client: FlaskClient) -> None:
    assert_problem(client.post("/predict?explain=x", **upload(IMAGE)), 400, "invalid_request")
    assert_good(client)


def test_study_of_named_images(client: FlaskClient) -> None:
    form = upload(IMAGE, encoded(grey=204), IMAGE, patient="A", laterality=["L", "R", "R"])
    answer = client.post("/studies", **form)
    assert answer.status_code == 200, answer.text
    study = answer.json
    assert [each["laterality"] for each in study["images"]] == ["L", "R", "R"]
    assert [each["file"] for each in study["images"]] == ["a.jpg"] * 3
    left, right = study["breasts"]
    assert (left["laterality"], left["pictures"]) == ("L", 1)
    assert (right["laterality"], right["pictures"]) == ("R", 2)
    assert left["logit"] == pytest.approx(0.4)
    assert right["logit"] == pytest.approx(0.6)
    (patient,) = study["patients"]
    assert patient["patient"] == "A"
    assert patient["logit"] == pytest.approx(0.6)
    assert study["model_version"] == "test-1"


def test_dicom_study_identifies_its_patient(client: FlaskClient) -> None:
    form = upload(
        mammogram_object(),
        changed(mammogram_object(), ImageLaterality="R", PatientOrientation=["P", "F"]),
    )
    study = client.post("/studies", **form).json
    assert {each["laterality"] for each in study["breasts"]} <= {"L", "R"}
    (patient,) = study["patients"]
    assert len(patient["patient"]) == 16
    again = client.post("/studies", **upload(mammogram_object())).json
    assert again["patients"][0]["patient"] != patient["patient"]


def test_refused_image_does_not_affect_the_others(client: FlaskClient) -> None:
    study = client.post("/studies", **upload(IMAGE, b"no image", patient="A")).json
    good, refused = study["images"]
    assert good["probability"] == pytest.approx(0.4, abs=1e-6)
    assert refused["error"]["code"] == "unsupported_image"
    assert study["patients"][0]["pictures"] == 1


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        (upload(patient="A"), 400, "invalid_request"),
        (upload(IMAGE, field="picture"), 400, "invalid_request"),
        (upload(IMAGE, name="a", nothing="A"), 400, "invalid_request"),
        (upload(IMAGE, laterality="left"), 400, "invalid_request"),
        (upload(IMAGE, view="side"), 400, "invalid_request"),
        (upload(IMAGE, IMAGE, IMAGE, patient=["A", "B"]), 400, "invalid_request"),
        (upload(*[IMAGE] * 5), 413, "request_too_large"),
        (upload(*[IMAGE] * 40), 413, "request_too_large"),
        (
            {"data": bytes(1_100_000), "content_type": "multipart/form-data; boundary=x"},
            413,
            "request_too_large",
        ),
        ({"data": b"{}", "content_type": "application/json"}, 415, "unsupported_media_type"),
    ],
)
def test_bad_study(client: FlaskClient, form: dict[str, Any], status: int, code: str) -> None:
    assert_problem(client.post("/studies", **form), status, code)
    assert_good(client)


@pytest.mark.parametrize("identifier", ["removed", "", "ANON", None])
def test_a_placeholder_is_not_a_patient(client: FlaskClient, identifier: str | None) -> None:
    files = [
        (io.BytesIO(changed(mammogram_object(), PatientID=identifier, StudyInstanceUID=study)), "a")
        for study in ("1.2.3", "1.2.4", "1.2.3")
    ]
    study = client.post("/studies", data={"file": files}).json
    assert [each["images"] for each in study["patients"]] == [2, 1]
    assert all(any("manifest" in each for each in image["warnings"]) for image in study["images"])


def test_a_study_with_several_ids_is_one_patient(client: FlaskClient) -> None:
    files = [
        (io.BytesIO(changed(mammogram_object(), PatientID=name, StudyInstanceUID="1.2.3")), "a")
        for name in "abc"
    ]
    study = client.post("/studies", data={"file": files}).json
    assert [each["images"] for each in study["patients"]] == [3]
