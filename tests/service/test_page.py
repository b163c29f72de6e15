"""The page's routes: the shell, the documentation, display images, phantoms, layers, the prefix."""

import base64
import gzip
import io
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

import mammoscope.service
from mammoscope.imaging.display_values import LEAST, MOST
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.model.prediction import RESEARCH_USE_NOTICE
from mammoscope.service.display_routes import LONGEST_SIDE
from mammoscope.service.problems import REFUSALS
from mammoscope.service.request_parsing import DICOM_TYPE
from mammoscope.settings.service import ServiceSettings
from tests.dicom_objects import changed, mammogram_object
from tests.fake_engine import IMAGE, FakeEngine, app_with, assert_problem, encoded, upload

STATIC = Path(mammoscope.service.__file__).parent / "static"
LIMIT_BYTES = 400_000
"""Page and scripts may have so many bytes, compressed, besides the API's reference."""


@pytest.fixture
def client() -> FlaskClient:
    return app_with(ServiceSettings(), FakeEngine()).test_client()


def config_of(page: str) -> dict[str, Any]:
    (told,) = re.findall(r'data-config="([^"]*)"', page)
    return json.loads(unescape(told))


@pytest.mark.parametrize("path", ["/", "/model/card"])
def test_shell(client: FlaskClient, path: str) -> None:
    page = client.get(path)
    assert page.status_code == 200
    assert page.mimetype == "text/html"
    assert RESEARCH_USE_NOTICE in page.text
    assert "://" not in page.text, "nothing comes from elsewhere"
    assert "Set-Cookie" not in page.headers
    policy = page.headers["Content-Security-Policy"]
    assert "'unsafe" not in policy
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
    assets = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
    assert "/static/page/app.js" in assets
    for asset in assets:
        with client.get(asset) as answer:
            assert answer.status_code == 200
            assert answer.mimetype in ("text/javascript", "text/css")
    assert config_of(page.text)["urlFetching"] is True
    without = app_with(ServiceSettings(url_fetching=False), FakeEngine()).test_client()
    assert config_of(without.get(path).text)["urlFetching"] is False


def test_every_module_is_announced(client: FlaskClient) -> None:
    page = client.get("/").text
    for module in (STATIC / "page").glob("*.js"):
        if module.name != "docs.js":
            assert f"/static/page/{module.name}" in page
        for imported in re.findall(r'from "([^"]+)"', module.read_text()):
            assert (module.parent / imported).is_file(), f"{module.name} imports {imported}"


def test_page_is_small(client: FlaskClient) -> None:
    page = client.get("/").text
    assets = {*re.findall(r'(?:src|href)="/static/([^"]+)"', page)}
    sizes = [len(gzip.compress((STATIC / asset).read_bytes())) for asset in assets]
    assert sum(sizes) + len(gzip.compress(page.encode())) < LIMIT_BYTES


def test_vendored_scripts_have_their_licences() -> None:
    licences = {file.name for file in (STATIC / "vendor").glob("*.LICENSE.txt")}
    assert licences == {"htm.LICENSE.txt", "preact.LICENSE.txt", "rapidoc.LICENSE.txt"}


def test_docs(client: FlaskClient) -> None:
    page = client.get("/docs")
    assert page.mimetype == "text/html"
    for status, code in REFUSALS:
        assert f"<td>{status}</td><td><code>{code}</code></td>" in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "style-src 'self' 'unsafe-inline';" in policy
    assert "unsafe" not in client.get("/openapi.json").headers["Content-Security-Policy"]


def display(client: FlaskClient, data: bytes, query: str = "", **headers: str) -> Any:
    # As a body: the test client would spool a large form into a file.
    return client.post(f"/display{query}", data=data, content_type=DICOM_TYPE, headers=headers)


def test_display_image(client: FlaskClient) -> None:
    answer = display(client, mammogram_object(laterality=Laterality.RIGHT, view=View.CRANIO_CAUDAL))
    assert answer.status_code == 200
    assert answer.content_type == "application/octet-stream"
    values = np.frombuffer(answer.data, "<u2").reshape(256, 208)
    assert (values.min(), values.max()) == (LEAST, MOST)
    told = {name: answer.headers[f"Image-{name}"] for name in ("Rows", "Columns", "Source-Rows")}
    assert told == {"Rows": "256", "Columns": "208", "Source-Rows": "256"}
    assert answer.headers["Image-Orientation"] == "P,L"
    assert answer.headers["Image-Laterality"] == "R"
    assert answer.headers["Image-View"] == "CC"
    assert float(answer.headers["Image-Row-Spacing"]) == pytest.approx(0.2)
    assert answer.headers["Image-Spacing-Origin"] == "detector"
    assert float(answer.headers["Image-Window-Width"]) >= MOST - LEAST
    packed = display(client, mammogram_object(), Accept_Encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert np.frombuffer(gzip.decompress(packed.data), "<u2").size == 256 * 208


def test_display_image_is_capped_unless_asked_for_in_full(client: FlaskClient) -> None:
    data = encoded(size=(3000, 2400))
    capped = display(client, data)
    assert int(capped.headers["Image-Rows"]) == LONGEST_SIDE
    assert len(capped.data) == 2 * int(capped.headers["Image-Columns"]) * LONGEST_SIDE
    assert "Image-Row-Spacing" not in capped.headers
    full = display(client, data, "?full=true")
    assert (full.headers["Image-Rows"], full.headers["Image-Columns"]) == ("3000", "2400")
    assert_problem(display(client, data, "?full=maybe"), 400, "invalid_request")
    assert_problem(display(client, b"no image"), 415, "unsupported_image")


def test_spacing_grows_with_the_pixels(client: FlaskClient) -> None:
    data = mammogram_object(height=4096, width=1024)
    capped = display(client, data)
    assert int(capped.headers["Image-Rows"]) == 2048
    assert float(capped.headers["Image-Row-Spacing"]) == pytest.approx(0.4)


def test_a_patient_stays_unnamed(client: FlaskClient) -> None:
    data = changed(mammogram_object(), PatientName="Somebody^Known", PatientID="4711-SECRET")
    for answer in (
        display(client, data),
        client.post("/predict?layers=true", **upload(data)),
    ):
        told = answer.data + str(answer.headers).encode()
        assert b"Somebody" not in told
        assert b"4711" not in told


def test_layers(client: FlaskClient) -> None:
    data = mammogram_object(laterality=Laterality.LEFT, view=View.MEDIO_LATERAL_OBLIQUE)
    answer = client.post("/predict?layers=true", **upload(data)).json
    assert "heat_map" not in answer
    layers = answer["layers"]
    assert (layers["laterality"], layers["view"]) == ("L", "MLO")
    assert layers["box"] == [0, 0, 1, 1]
    with Image.open(io.BytesIO(base64.b64decode(layers["heat"]))) as heat:
        assert heat.mode == "RGBA"
        assert heat.height / heat.width == pytest.approx(256 / 208, abs=0.02)
        pixels = np.asarray(heat, np.int32)
    # The engine of the tests is hottest below: from dark blue to yellow.
    assert pixels[0, 0, 2] > pixels[0, 0, 0]
    assert pixels[-1, 0, 0] > pixels[-1, 0, 2]
    with Image.open(io.BytesIO(base64.b64decode(layers["preprocessed"]))) as preprocessed:
        assert preprocessed.size == (96, 96)
    both = client.post("/predict?layers=true&explain=true", **upload(data)).json
    assert {"heat_map", "layers"} <= set(both)
    assert "layers" not in client.post("/predict", **upload(data)).json


def test_phantoms_can_be_predicted(client: FlaskClient) -> None:
    for place in ("R-CC", "L-CC", "R-MLO", "L-MLO"):
        phantom = client.get(f"/phantoms/1/{place}.dcm")
        assert phantom.content_type == "application/dicom"
        layers = client.post(
            "/predict?layers=true", data=phantom.data, content_type=DICOM_TYPE
        ).json["layers"]
        assert f"{layers['laterality']}-{layers['view']}" == place
    for path in ("9/L-CC", "0/X-CC", "0/L-ML", "-1/L-CC", "0/L-XX"):
        assert_problem(client.get(f"/phantoms/{path}.dcm"), 404, "not_found")


@pytest.mark.parametrize("strips", [True, False])
def test_prefix_of_a_trusted_proxy(strips: bool) -> None:
    settings = ServiceSettings.from_environment({"MAMMOSCOPE_TRUSTED_PROXIES": "10.1.0.0/16, ::1"})
    client = app_with(settings, FakeEngine()).test_client()
    path = "/model/card" if strips else "/tools/mammoscope/model/card"

    def ask(peer: str, prefix: str) -> Any:
        return client.get(
            path,
            headers={"X-Forwarded-Prefix": prefix},
            environ_base={"REMOTE_ADDR": peer},
        )

    for peer in ("10.1.2.3", "::1"):
        page = ask(peer, "/tools/mammoscope")
        assert config_of(page.text)["base"] == "/tools/mammoscope"
        assert 'src="/tools/mammoscope/static/page/app.js"' in page.text
    for peer, prefix in (
        ("10.2.2.3", "/tools/mammoscope"),
        ("", "/tools/mammoscope"),
        ("10.1.2.3", "//elsewhere.example"),
        ("10.1.2.3", '/"><script>'),
        ("10.1.2.3", "tools"),
    ):
        page = ask(peer, prefix)
        if strips:
            assert config_of(page.text)["base"] == ""
        else:
            assert page.status_code == 404


def test_prefix_of_the_server(client: FlaskClient) -> None:
    page = client.get("/", environ_overrides={"SCRIPT_NAME": "/below"})
    assert config_of(page.text)["base"] == "/below"
    docs = client.get("/docs", environ_overrides={"SCRIPT_NAME": "/below"})
    assert 'data-description="/below/openapi.json"' in docs.text


def test_images_are_not_kept(client: FlaskClient) -> None:
    answer = display(client, IMAGE)
    assert answer.headers["Cache-Control"] == "no-store"
