"""All answers of the service, with a fake engine."""

import gzip
import io
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import structlog
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from mammoscope import errors
from mammoscope.imaging.reading import read
from mammoscope.model.prediction import RESEARCH_USE_NOTICE
from mammoscope.service.engine_loading import LoadingEngine
from mammoscope.service.problems import RETRY_AFTER_S, STATUSES
from mammoscope.service.tracing import configure_logging
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

CAP = 200_000
SETTINGS = ServiceSettings(max_image_bytes=CAP, fetch_private_addresses=True, fetch_timeout_s=2)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(engine: FakeEngine) -> FlaskClient:
    return app_with(SETTINGS, engine).test_client()


def test_dicom_is_uploaded_like_any_image(client: FlaskClient) -> None:
    data = mammogram_object()
    answers = [
        client.post("/predict", **upload(data, name="a.dcm")),
        client.post("/predict", data=data, content_type="application/dicom"),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert answer.json["probability"] == pytest.approx(float(read(data).pixels.mean()))


def test_other_dicom_is_refused_without_logging_its_content(
    client: FlaskClient, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    planted = "DOE^JANE"
    data = changed(
        mammogram_object(), Modality="CT", PatientName=planted, PatientID=planted,
        StudyDescription=planted, InstitutionName=planted,
    )  # fmt: skip
    answer = client.post("/predict", **upload(data, name=f"{planted}.dcm"))
    problem = assert_problem(answer, 422, "not_a_mammogram")
    assert "modality is CT" in problem["detail"]
    for place in (answer.text, str(answer.headers), str(log_lines())):
        assert planted not in place
    assert_good(client)


@pytest.fixture
def log_lines(
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The log lines, as the service would write them to stderr."""
    configure_logging("info")
    written: list[str] = []

    def lines() -> list[dict[str, Any]]:
        for handler in logging.getLogger("mammoscope").handlers:
            handler.flush()
        written.extend(capfd.readouterr().err.splitlines())
        return [json.loads(line) for line in written]

    yield lines
    structlog.reset_defaults()
    for name in (None, "mammoscope", "gunicorn.error"):
        logging.getLogger(name).handlers.clear()


LogLines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def image_server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/a.png" else 404)
            self.end_headers()
            self.wfile.write(IMAGE)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


# Answers


def test_multipart_file(client: FlaskClient) -> None:
    response = client.post("/predict", **upload(IMAGE))
    assert response.status_code == 200
    assert response.json is not None
    assert response.json["label"] == "no tumour"
    assert response.json["probability"] == pytest.approx(0.4, abs=1e-6)
    assert response.json["classes"] == pytest.approx({"no tumour": 0.6, "tumour": 0.4}, abs=1e-6)
    assert response.json["model_version"] == "test-1"
    assert response.json["warnings"] == ["Predicted by a test."]
    assert response.json["notice"] == RESEARCH_USE_NOTICE


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF"])
def test_raw_body(client: FlaskClient, format: str) -> None:  # noqa: A002
    response = client.post("/predict", data=encoded(format), content_type=f"image/{format.lower()}")
    assert response.status_code == 200


def test_url(client: FlaskClient, image_server: str) -> None:
    response = client.post("/predict", json={"url": f"{image_server}/a.png"})
    assert response.status_code == 200
    missing = client.post("/predict", json={"url": f"{image_server}/b.png"})
    assert_problem(missing, 502, "fetch_unsuccessful")


def test_age_is_read_from_form_json_and_query(
    engine: FakeEngine, client: FlaskClient, image_server: str
) -> None:
    requests: list[dict[str, Any]] = [
        upload(IMAGE, age="57"),
        upload(IMAGE, age=""),
        {"json": {"url": f"{image_server}/a.png", "age": 57.5}},
        {"json": {"url": f"{image_server}/a.png"}},
        {"data": IMAGE, "content_type": "image/png", "query_string": {"age": "58"}},
        {**upload(IMAGE), "query_string": {"age": "59"}},
        {"json": {"url": f"{image_server}/a.png"}, "query_string": {"age": "60"}},
    ]
    for content in requests:
        assert client.post("/predict", **content).status_code == 200
    assert engine.ages == [57.0, None, 57.5, None, 58.0, 59.0, 60.0]


def test_operating_point_comes_from_the_settings(engine: FakeEngine) -> None:
    settings = ServiceSettings(operating_point="high_sensitivity")
    assert_good(app_with(settings, engine).test_client())
    assert engine.operating_points == ["high_sensitivity"]


def test_probes_and_model(client: FlaskClient) -> None:
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.get("/readyz").json == {"status": "ready", "model_version": "test-1"}
    model = client.get("/model")
    assert model.json is not None
    assert model.json["version"] == "test-1"
    assert model.json["operating_points"]["default"]["threshold"] == 0.5
    assert "somebody" not in model.text


def test_answers_are_neither_stored_nor_sniffed(client: FlaskClient) -> None:
    for response in (client.post("/predict", **upload(IMAGE)), client.get("/nothing")):
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_every_answer_has_the_api_version(client: FlaskClient) -> None:
    version = client.get("/openapi.json").json["info"]["version"]
    for response in (client.post("/predict", **upload(IMAGE)), client.get("/nothing")):
        assert response.headers["Mammoscope-Api-Version"] == version


def test_harmless_request_ids_are_kept(client: FlaskClient) -> None:
    def returned(sent: str) -> str:
        return client.get("/healthz", headers={"X-Request-Id": sent}).headers["X-Request-Id"]

    assert returned("abc-1.2_3") == "abc-1.2_3"
    for sent in ("", "a b", "a" * 65, "ä", '"', "{}"):
        assert returned(sent) != sent
        assert len(returned(sent)) == 32


# Refusals


def error_classes(root: type[errors.MammoscopeError]) -> Iterator[type[errors.MammoscopeError]]:
    yield root
    for subclass in root.__subclasses__():
        yield from error_classes(subclass)


def test_every_error_class_has_a_status() -> None:
    of_the_package = {
        kind
        for kind in error_classes(errors.MammoscopeError)
        if kind.__module__.startswith("mammoscope")
    }
    assert set(STATUSES) == of_the_package


@pytest.mark.parametrize("kind", list(STATUSES))
def test_every_error_class_is_answered(
    client: FlaskClient, engine: FakeEngine, kind: type[errors.MammoscopeError]
) -> None:
    engine.failure = kind("What is wrong.")
    response = client.post("/predict", **upload(IMAGE))
    if STATUSES[kind] == 500:
        problem = assert_problem(response, 500, "internal_error")
        assert "What is wrong." not in problem["detail"]
    else:
        problem = assert_problem(response, STATUSES[kind], kind.code)
        assert problem["detail"] == "What is wrong."
    waits = (*RETRY_AFTER_S, errors.RateLimitedError)
    assert ("Retry-After" in response.headers) == (kind in waits)
    engine.failure = None
    assert_good(client)


def test_unexpected_exception_reveals_nothing(
    client: FlaskClient, engine: FakeEngine, log_lines: LogLines
) -> None:
    engine.failure = RuntimeError("/srv/patients/meier.dcm")
    response = client.post("/predict", **upload(IMAGE))
    problem = assert_problem(response, 500, "internal_error")
    lines = log_lines()
    unexpected = next(line for line in lines if line["event"] == "unexpected_error")
    assert unexpected["exception"] == "RuntimeError"
    assert any("fake_engine" in frame for frame in unexpected["frames"])
    assert unexpected["request_id"] == problem["request_id"]
    assert "meier" not in response.text + json.dumps(lines)
    engine.failure = None
    assert_good(client)


@pytest.mark.parametrize(
    "path", ["/predict", "/studies", "/display", "/v2/models/mammoscope/infer"]
)
def test_an_unknown_query_parameter_is_refused(client: FlaskClient, path: str) -> None:
    response = client.post(f"{path}?operating_point=screening", **upload(IMAGE))
    problem = assert_problem(response, 400, "invalid_request")
    assert "unknown query parameter; allowed here: " in problem["detail"]


def test_pages_ignore_query_parameters_that_they_do_not_know(client: FlaskClient) -> None:
    assert client.get("/?utm_source=mail").status_code == 200


BOUNDARY_TRUNCATED = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'

REFUSALS: dict[str, tuple[dict[str, Any], int, str]] = {
    "empty file": (upload(b""), 422, "empty_image"),
    "text named .jpg": (upload(b"not an image", name="a.jpg"), 415, "unsupported_image"),
    "HTML named .png": (upload(b"<html></html>", name="a.png"), 415, "unsupported_image"),
    "truncated JPEG": (upload(encoded("JPEG")[:-200]), 422, "corrupt_image"),
    "truncated PNG": (upload(IMAGE[:-30]), 422, "corrupt_image"),
    "two files": (upload(IMAGE, IMAGE), 400, "invalid_request"),
    "no file": (upload(), 400, "invalid_request"),
    "file of another name": (upload(IMAGE, field="picture"), 400, "invalid_request"),
    "file and a field": (upload(IMAGE, url="http://a/"), 400, "invalid_request"),
    "age in words": (upload(IMAGE, age="old"), 400, "invalid_request"),
    "age of a child": (upload(IMAGE, age="7"), 400, "invalid_request"),
    "age that is no number": (upload(IMAGE, age="nan"), 400, "invalid_request"),
    "two ages": (upload(IMAGE, age=["50", "60"]), 400, "invalid_request"),
    "ages in query and form": (
        {**upload(IMAGE, age="50"), "query_string": {"age": "50"}},
        400,
        "invalid_request",
    ),
    "age of a child in the query": (
        {**upload(IMAGE), "query_string": {"age": "7"}},
        400,
        "invalid_request",
    ),
    "true as age": ({"json": {"url": "http://a/", "age": True}}, 400, "invalid_request"),
    "list as age": ({"json": {"url": "http://a/", "age": [50]}}, 400, "invalid_request"),
    "text in place of the file": (
        {"data": {"file": "abc"}, "content_type": "multipart/form-data"},
        400,
        "invalid_request",
    ),
    "huge text part": (upload(IMAGE, text="a" * 150_000), 413, "request_too_large"),
    "many parts": (
        upload(IMAGE, **{f"f{number}": "a" for number in range(1000)}),
        413,
        "request_too_large",
    ),
    "truncated multipart": (
        {"data": BOUNDARY_TRUNCATED, "content_type": "multipart/form-data; boundary=x"},
        400,
        "invalid_request",
    ),
    "multipart without boundary": (
        {"data": b"abc", "content_type": "multipart/form-data"},
        400,
        "invalid_request",
    ),
    "empty raw body": ({"data": b"", "content_type": "image/png"}, 422, "empty_image"),
    "raw SVG": ({"data": b"<svg/>", "content_type": "image/svg+xml"}, 415, "unsupported_image"),
    "no content type": ({"data": IMAGE}, 415, "unsupported_media_type"),
    "other content type": (
        {"data": b"url=http://a/", "content_type": "application/x-www-form-urlencoded"},
        415,
        "unsupported_media_type",
    ),
    "no JSON": ({"data": b"{", "content_type": "application/json"}, 400, "invalid_request"),
    "JSON of bad text": (
        {"data": b'{"url": "\xff"}', "content_type": "application/json"},
        400,
        "invalid_request",
    ),
    "deep JSON": (
        {"data": b"[" * 16_000, "content_type": "application/json"},
        400,
        "invalid_request",
    ),
    "large JSON": ({"json": {"url": "a" * 20_000}}, 413, "request_too_large"),
    "JSON list": ({"json": ["http://a/"]}, 400, "invalid_request"),
    "JSON null": ({"json": None, "content_type": "application/json"}, 400, "invalid_request"),
    "JSON number as url": ({"json": {"url": 7}}, 400, "invalid_request"),
    "JSON without url": ({"json": {}}, 400, "invalid_request"),
    "JSON with more than url": ({"json": {"url": "a", "b": 1}}, 400, "invalid_request"),
    "JSON with another key": ({"json": {"uri": "http://a/"}}, 400, "invalid_request"),
    "file URL": ({"json": {"url": "file:///etc/passwd"}}, 400, "url_not_allowed"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_request_is_refused_and_the_next_answered(
    engine: FakeEngine, client: FlaskClient, case: str
) -> None:
    content, status, code = REFUSALS[case]
    # The builder of a request consumes its streams.
    fresh = {
        key: {
            name: [(io.BytesIO(file.getvalue()), label) for file, label in value]
            if isinstance(value, list) and name != "age"
            else value
            for name, value in part.items()
        }
        if key == "data" and isinstance(part, dict)
        else part
        for key, part in content.items()
    }
    assert_problem(client.post("/predict", **fresh), status, code)
    assert engine.operating_points == []
    assert_good(client)


def multipart(file: bytes) -> dict[str, Any]:
    """A form with one file; the test client would write a large one to disk."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    return {
        "data": head + file + b"\r\n--x--\r\n",
        "content_type": "multipart/form-data; boundary=x",
    }


def padded(size: int) -> bytes:
    """A JPEG of exactly `size` bytes: decoders ignore bytes after its end."""
    return encoded("JPEG").ljust(size, b"\0")


def test_size_limits_are_exact(client: FlaskClient) -> None:
    def raw(size: int) -> TestResponse:
        return client.post("/predict", data=padded(size), content_type="image/jpeg")

    assert client.post("/predict", **multipart(padded(CAP))).status_code == 200
    assert_problem(client.post("/predict", **multipart(padded(CAP + 1))), 413, "image_too_large")
    assert raw(CAP).status_code == 200
    assert_problem(raw(CAP + 1), 413, "image_too_large")
    assert_problem(raw(2 * CAP), 413, "request_too_large")
    assert_problem(client.post("/predict", **multipart(bytes(2 * CAP))), 413, "request_too_large")
    assert_good(client)


class CountedStream(io.BytesIO):
    """Endless zeros, counted."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        size = 65_536 if size is None or size < 0 else size
        self.count += size
        return bytes(size)

    def readinto(self, buffer: Any) -> int:
        self.count += len(buffer)
        buffer[:] = bytes(len(buffer))
        return len(buffer)


def test_declared_size_is_refused_before_reading(client: FlaskClient) -> None:
    stream = CountedStream()
    response = client.post(
        "/predict",
        content_type="image/png",
        environ_overrides={"wsgi.input": stream, "CONTENT_LENGTH": str(10**12)},
    )
    assert_problem(response, 413, "request_too_large")
    assert stream.count == 0


CONTENT_TYPES = ("image/png", "application/json", "multipart/form-data; boundary=x")


def chunked(client: FlaskClient, content_type: str, stream: io.IOBase) -> TestResponse:
    """A body without Content-Length, as passed on by the server."""
    return client.post(
        "/predict",
        content_type=content_type,
        environ_overrides={
            "wsgi.input": stream,
            "wsgi.input_terminated": True,
            "HTTP_TRANSFER_ENCODING": "chunked",
        },
    )


def test_chunked_body(client: FlaskClient) -> None:
    assert chunked(client, "image/png", io.BytesIO(IMAGE)).status_code == 200


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_endless_chunked_body_is_cut_off(client: FlaskClient, content_type: str) -> None:
    stream = CountedStream()
    assert_problem(chunked(client, content_type, stream), 413, "request_too_large")
    assert stream.count < 4 * CAP
    assert_good(client)


class BrokenStream(io.RawIOBase):
    """A connection that breaks."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        raise ConnectionResetError("10.0.0.7 went away")


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_broken_connection(client: FlaskClient, content_type: str) -> None:
    response = chunked(client, content_type, BrokenStream())
    problem = assert_problem(response, 400, "invalid_request")
    assert "10.0.0.7" not in problem["detail"]
    assert_good(client)


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_body_shorter_than_announced(client: FlaskClient, content_type: str) -> None:
    body = {"wsgi.input": io.BytesIO(b'{"url"'), "CONTENT_LENGTH": "10"}
    for server in ({}, {"wsgi.input_terminated": True}):
        response = client.post(
            "/predict", content_type=content_type, environ_overrides={**body, **server}
        )
        assert_problem(response, 400, "invalid_request")


def test_other_paths_and_methods(client: FlaskClient) -> None:
    for path in ("/nothing", "/predict/", "/static/../app.py", "/static/nothing.js"):
        assert_problem(client.get(path), 404, "not_found")
    response = client.get("/predict")
    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "OPTIONS, POST"
    assert_problem(client.delete("/healthz"), 405, "method_not_allowed")


def test_urls_into_private_networks_are_refused(image_server: str) -> None:
    client = app_with(ServiceSettings(), FakeEngine()).test_client()
    port = image_server.rsplit(":", 1)[1]
    for url in (f"{image_server}/a.png", f"http://localhost:{port}/a.png", "http://127.0.0.1/"):
        problem = assert_problem(client.post("/predict", json={"url": url}), 400, "url_not_allowed")
        assert "127.0.0.1" not in problem["detail"]


def test_uploads_never_touch_a_disk(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    for name in ("TemporaryFile", "SpooledTemporaryFile", "NamedTemporaryFile"):
        monkeypatch.setattr(f"tempfile.{name}", refuse)
    big = app_with(ServiceSettings(), FakeEngine()).test_client()
    assert big.post("/predict", **multipart(padded(2_000_000))).status_code == 200


# Logs


def test_log_line_of_a_request_identifies_nobody(client: FlaskClient, log_lines: LogLines) -> None:
    client.post("/predict?name=meier", **upload(IMAGE))
    client.post("/predict", **upload(b"meier", name="meier.jpg"))
    client.post("/predict", json={"url": "http://meier@meier.example/meier"})
    client.get("/meier")
    lines = log_lines()
    assert [(line["route"], line["status"], line["code"]) for line in lines] == [
        ("/predict", 400, "invalid_request"),
        ("/predict", 415, "unsupported_image"),
        ("/predict", 400, "url_not_allowed"),
        (None, 404, "not_found"),
    ]
    assert all(line["level"] == "info" and line["duration_ms"] >= 0 for line in lines)
    assert len({line["request_id"] for line in lines}) == 4
    assert "meier" not in str(lines)


def test_lines_of_libraries_are_json_too_without_exception_texts(
    log_lines: LogLines,
) -> None:
    try:
        int("meier")
    except ValueError:
        logging.getLogger("gunicorn.error").exception("Went %s", "wrong")
    logging.getLogger("somewhere").info("not of interest")
    (line,) = log_lines()
    assert line["event"] == "Went wrong"
    assert line["exception"] == "ValueError"
    assert "meier" not in str(line)


# Loading the model


def wait_until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_service_is_ready_once_the_engine_is() -> None:
    release = threading.Event()

    def make() -> FakeEngine:
        release.wait(10)
        return FakeEngine()

    ready: list[int] = []
    engine = LoadingEngine(make, lambda: ready.append(client.get("/readyz").status_code))
    client = app_with(SETTINGS, engine).test_client()
    engine.start()
    assert client.get("/healthz").status_code == 200
    assert_problem(client.get("/readyz"), 503, "not_ready")
    waiting = client.post("/predict", **upload(IMAGE))
    assert_problem(waiting, 503, "not_ready")
    assert waiting.headers["Retry-After"]
    release.set()
    wait_until(lambda: client.get("/readyz").status_code == 200)
    assert_good(client)
    assert client.get("/model").status_code == 200
    wait_until(lambda: ready == [200])


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (errors.ArtifactNotFoundError("There is no model."), "artifact_not_found"),
        (errors.ArtifactMismatchError("Another card."), "artifact_mismatch"),
        (errors.ConfigurationError("No such operating point."), "invalid_configuration"),
        (RuntimeError("/srv/secret/model.keras"), "artifact_refused"),
    ],
)
def test_unusable_model_never_becomes_ready(
    failure: Exception, code: str, log_lines: LogLines
) -> None:
    def make() -> FakeEngine:
        raise failure

    client = app_with(SETTINGS, LoadingEngine(make).start()).test_client()
    wait_until(lambda: b"not_ready" not in client.get("/readyz").data)
    for _ in range(2):
        assert_problem(client.get("/readyz"), 503, code)
        assert_problem(client.post("/predict", **upload(IMAGE)), 503, code)
        assert_problem(client.get("/model"), 503, code)
        assert client.get("/healthz").status_code == 200
        assert client.get("/").status_code == 200
    lines = log_lines()
    (refused,) = [line for line in lines if line["event"] == "model_refused"]
    assert refused["code"] == code
    assert refused["level"] == "error"
    assert "secret" not in str(lines)


def test_missing_model_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAMMOSCOPE_MODEL", str(tmp_path / "meier"))
    import predict

    client = predict.app.test_client()
    wait_until(lambda: b"not_ready" not in client.get("/readyz").data)
    problem = assert_problem(client.get("/readyz"), 503, "artifact_not_found")
    assert "meier" not in problem["detail"]


def form_of(name: bytes, image: bytes = IMAGE) -> dict[str, Any]:
    """A form with one file, whose name has these bytes."""
    head = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="' + name + b'"\r\n\r\n'
    body = head + image + b"\r\n--XX--\r\n"
    return {"data": body, "content_type": "multipart/form-data; boundary=XX"}


@pytest.mark.parametrize("name", ["brüst.jpg", "乳房 左.jpg", "誠", "表.png", "грудь.dcm"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "gbk", "shift_jis", "cp1251", "big5"])
def test_file_names_may_have_any_encoding(client: FlaskClient, name: str, encoding: str) -> None:
    bytes_of_name = name.encode(encoding, "ignore") or b"\xff"
    answer = client.post("/predict", **form_of(bytes_of_name))
    assert answer.status_code == 200, answer.text
    study = client.post("/studies", **form_of(bytes_of_name))
    assert study.status_code == 200
    assert len(study.json["images"]) == 1


@pytest.mark.parametrize("ending", [b"", b"; size=5", b"\r\nContent-Type: image/png"])
@pytest.mark.parametrize("name", [rb"scan\%s" % (b"\\" * n) for n in range(3)] + [rb"a\"b\"c.png"])
def test_backslashes_do_not_hide_the_end_of_a_file_name(
    client: FlaskClient, name: bytes, ending: bytes
) -> None:
    request = form_of(name)
    request["data"] = request["data"].replace(b'"\r\n\r\n', b'"' + ending + b"\r\n\r\n", 1)
    assert client.post("/predict", **request).status_code == 200


@given(name=st.binary(max_size=60).filter(lambda name: not set(name) & set(b'\r\n"')))
def test_any_byte_in_a_file_name_is_accepted(name: bytes) -> None:
    client = app_with(SETTINGS, FakeEngine()).test_client()
    assert client.post("/predict", **form_of(name)).status_code == 200


@pytest.mark.parametrize("encoding", ["", "identity", "Identity", "aws-chunked", " , identity"])
def test_uncompressed_bodies_may_name_an_encoding(client: FlaskClient, encoding: str) -> None:
    for request in (upload(IMAGE), {"data": IMAGE, "content_type": "image/png"}):
        answer = client.post("/predict", **request, headers={"Content-Encoding": encoding})
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("encoding", ["gzip", "br", "aws-chunked, gzip", "GZIP", "zstd;x=1"])
@pytest.mark.parametrize(
    "path", ["/predict", "/studies", "/v2/models/mammoscope/infer", "/predict?explain=false"]
)
def test_compressed_bodies_are_refused_by_their_encoding(
    client: FlaskClient, path: str, encoding: str
) -> None:
    request: dict[str, Any] = {
        "/predict": {"data": gzip.compress(IMAGE), "content_type": "image/png"},
        "/studies": upload(IMAGE),
    }.get(path, {"data": gzip.compress(b"{}"), "content_type": "application/json"})
    answer = client.post(path, **request, headers={"Content-Encoding": encoding})
    problem = assert_problem(answer, 415, "unsupported_media_type")
    assert encoding.rsplit(", ", maxsplit=1)[-1] in problem["detail"]
    assert_good(client)


@pytest.mark.parametrize("age", ["1" + 400 * "0", "-1" + 400 * "0", "1e999", "1" * 4300])
def test_ages_beyond_floating_point_are_refused(client: FlaskClient, age: str) -> None:
    body = f'{{"url": "http://127.0.0.1:9/", "age": {age}}}'
    answer = client.post("/predict", data=body, content_type="application/json")
    assert "a number of years" in assert_problem(answer, 400, "invalid_request")["detail"]


@pytest.mark.parametrize(
    "url",
    [
        r"http://a/\ud800", r"http://a/\udfff?\ud800", r"http://\ud83d/", r"\ud800",
        r"http://a/?\udc80", r"http://a:\ud800/", r"http://a/#\ud800",
    ],
)  # fmt: skip
def test_lone_surrogates_in_a_url_are_refused(client: FlaskClient, url: str) -> None:
    answer = client.post("/predict", data=f'{{"url": "{url}"}}', content_type="application/json")
    assert_problem(answer, 400, "url_not_allowed")
