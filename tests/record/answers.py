"""What the service answers, with the released model: every route, good and bad requests."""

import base64
import difflib
import hashlib
import io
import json
import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from flask import Flask
from prometheus_client import generate_latest

from mammoscope.errors import ArtifactMismatchError, ArtifactNotFoundError
from mammoscope.imaging.pool import ReadingPool
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.reading import read
from mammoscope.service.app import create_app, monitoring_of, queue_of
from mammoscope.service.connection import Connection
from mammoscope.service.engine_loading import LoadingEngine
from mammoscope.settings.service import ServiceSettings
from tests.dicom_objects import changed
from tests.record import exchange
from tests.record.encoded_images import dicom, encoded, grey8, jpeg, png8, refused
from tests.record.imaging import SIZE
from tests.record.keeping import NETWORK, Entries
from tests.record.scores import served
from tests.servers import send, server

CAP = 400_000
SETTINGS: dict[str, Any] = {
    "max_image_bytes": CAP,
    "max_study_images": 4,
    "max_study_bytes": 2_000_000,
    "request_threads": 8,  # the default depends on the machine
}
INFER = "/v2/models/mammoscope/infer"
SECRET = "mammoscope_record"  # noqa: S105 of a file made for this record
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")

Request = dict[str, Any]


class Asking:
    """One application, and the entries that its answers make."""

    def __init__(self, app: Flask, entries: Entries, prefix: str = "") -> None:
        self.app, self.entries, self.prefix = app, entries, prefix
        self.client = app.test_client()

    def __call__(
        self, name: str, method: str, path: str, /, *, network: bool = False, **request: Any
    ) -> Any:
        headers = {"X-Request-Id": exchange.REQUEST_ID, **request.pop("headers", {})}
        with self.client.open(path, method=method, headers=headers, **request) as answer:
            entry = exchange.kept(answer.status_code, answer.headers, answer.data)
            answer.request.environ["wsgi.input"].close()  # a file, where the form is large
        title = f"{self.prefix}{method} {path}{', ' if name else ''}{name}"
        assert title not in self.entries, title
        self.entries[title] = {NETWORK: True, **entry} if network else entry
        return answer


@cache
def reader() -> ReadingPool:
    """The processes that read images, as the service starts them."""
    return ReadingPool(2)


def form(*files: bytes, field: str = "file", name: str = "a.png", **fields: Any) -> Request:
    content = {field: [(io.BytesIO(file), name) for file in files], **fields}
    return {"data": content, "content_type": "multipart/form-data"}


def raw(data: bytes, kind: str) -> Request:
    return {"data": data, "content_type": kind}


def _app(**settings: Any) -> Flask:
    return create_app(ServiceSettings(**{**SETTINGS, **settings}), served(), reader())


def record() -> Entries:
    entries: Entries = {"headers of every answer": exchange.COMMON_HEADERS}
    with structlog.testing.capture_logs():
        ask = Asking(_app(fetch_private_addresses=True, fetch_timeout_s=5), entries)
        _pages(ask)
        _methods(ask)
        _predictions(ask)
        _refused_images(ask)
        _refused_requests(ask)
        _urls(ask)
        _studies(ask)
        _inference(ask)
        told = generate_latest(monitoring_of(ask.app).registry).decode()
        entries["metrics"] = {NETWORK: True, **exchange.metrics(told)}
        _other_settings(entries)
        _keys(entries)
        _states(entries)
    return entries


def _pages(ask: Asking) -> None:
    for path in (
        "/", "/docs", "/openapi.json", "/model", "/healthz", "/readyz", "/v2", "/v2/health/live",
        "/v2/health/ready", "/v2/models/mammoscope", "/v2/models/mammoscope/ready",
        "/model/card", "/phantoms/0/L-CC.dcm", "/static/vendor/preact.LICENSE.txt",
        # Not there
        "/nothing", "/metrics", "/predict/", "/static/", "/static/nothing.js",
        "/static/../app.py", "/v2/models/other", "/v2/models/other/ready", "/favicon.ico",
    ):  # fmt: skip
        ask("", "GET", path)
    for sent in ("", "a b", "a" * 65, "{}"):
        ask(f"request id {sent[:8]!r}", "GET", "/healthz", headers={"X-Request-Id": sent})


def path_of(rule: str) -> str:
    """A path that a rule takes."""
    for part, value in (
        ("<path:filename>", "vendor/preact.LICENSE.txt"),
        ("<name>", "mammoscope"),
        ("<int:woman>", "0"),
        ("<laterality>", "L"),
        ("<view>", "CC"),
    ):
        rule = rule.replace(part, value)
    return rule


def _methods(ask: Asking) -> None:
    """Every method of every route; what is answered to wrong ones is kept once."""
    told: dict[str, Any] = {}
    refusals: list[dict[str, Any]] = []
    for rule in sorted(ask.app.url_map.iter_rules(), key=str):
        path = path_of(rule.rule)
        for method in METHODS:
            with ask.client.open(
                path, method=method, headers={"X-Request-Id": exchange.REQUEST_ID}
            ) as answer:
                entry = exchange.kept(answer.status_code, answer.headers, answer.data)
            headers = entry["headers"]
            words = [str(entry["status"])]
            if entry["status"] == 405:
                words.append(f"Allow: {headers.pop('Allow')}")
                if entry not in refusals:
                    refusals.append(entry)
            else:
                words += [f"{name}: {value}" for name, value in headers.items()]
            told.setdefault(path, {}).setdefault("; ".join(words), []).append(method)
    by_methods = {
        path: {" ".join(methods): answer for answer, methods in answers.items()}
        for path, answers in told.items()
    }
    ask.entries["methods of the routes"] = {**by_methods, "405": refusals}


def _predictions(ask: Asking) -> None:
    good = {
        "form, PNG": form(png8("left CC")),
        "form, JPEG of a mass": form(jpeg("left MLO mass"), name="a.jpg"),
        "form, DICOM": form(dicom("left CC", "jpeg-ls"), name="a.dcm"),
        "form with age": form(png8("left CC"), age="57"),
        "form with an empty age": form(png8("left CC"), age=""),
        "raw PNG": raw(png8("left CC"), "image/png"),
        "raw JPEG": raw(jpeg("right CC mass"), "image/jpeg"),
        "raw TIFF": raw(encoded(grey8("right MLO"), "TIFF"), "image/tiff"),
        "raw DICOM": raw(dicom("right MLO", "jpeg-2000"), "application/dicom"),
        "raw of another image type": raw(png8("left CC"), "image/svg+xml"),
        "partial view": form(changed(dicom("left CC", "jpeg-ls"), PartialView="YES")),
    }
    for name, request in good.items():
        ask(name, "POST", "/predict", network=True, **request)
    ask("", "POST", "/predict?age=58", network=True, **raw(png8("left CC"), "image/png"))
    for value in ("true", "1", "false", "TRUE"):
        ask("", "POST", f"/predict?explain={value}", network=True, **form(jpeg("left MLO mass")))
    for accept in ("image/png", "image/png, application/json;q=0.5", "*/*", "text/html"):
        ask(f"Accept: {accept}", "POST", "/predict?explain=1", network=True,
            **form(jpeg("left MLO mass")), headers={"Accept": accept})  # fmt: skip
    ask("", "POST", "/predict?explain=x", **form(jpeg("left MLO mass")))


def _refused_images(ask: Asking) -> None:
    for name, data in refused().items():
        if len(data) <= CAP:
            ask(f"refused: {name}", "POST", "/predict", **form(data))
    ask("refused: explained noise", "POST", "/predict?explain=1", headers={"Accept": "image/png"},
        **form(refused()["noise"]))  # fmt: skip


def _refused_requests(ask: Asking) -> None:
    image, json_type = jpeg("left CC"), "application/json"
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    in_parts = "multipart/form-data; boundary=x"
    bad: dict[str, Request] = {
        "two files": form(image, image),
        "no file": form(),
        "file of another name": form(image, field="picture"),
        "file and a field": form(image, url="http://a/"),
        "age in words": form(image, age="old"),
        "age of a child": form(image, age="7"),
        "age that is no number": form(image, age="nan"),
        "two ages": form(image, age=["50", "60"]),
        "text in place of the file": raw({"file": "abc"}, "multipart/form-data"),  # type: ignore[arg-type]
        "huge text part": form(image, text="a" * 150_000),
        "many parts": form(image, **{f"f{number}": "a" for number in range(1000)}),
        "form that breaks off": raw(part + b"abc", in_parts),
        "form without boundary": raw(b"abc", "multipart/form-data"),
        "no content type": {"data": image},
        "other content type": raw(b"url=http://a/", "application/x-www-form-urlencoded"),
        "no JSON": raw(b"{", json_type),
        "JSON of bad text": raw(b'{"url": "\xff"}', json_type),
        "deep JSON": raw(b"[" * 16_000, json_type),
        "large JSON": {"json": {"url": "a" * 20_000}},
        "JSON list": {"json": ["http://a/"]},
        "JSON null": raw(b"null", json_type),
        "JSON number as url": {"json": {"url": 7}},
        "JSON without url": {"json": {}},
        "JSON with more than url": {"json": {"url": "http://a/", "b": 1}},
        "true as age": {"json": {"url": "http://a/", "age": True}},
        "list as age": {"json": {"url": "http://a/", "age": [50]}},
        "a file of the largest size and a byte": raw(image.ljust(CAP + 1, b"\0"), "image/jpeg"),
        "a body far too large": raw(bytes(2 * CAP), "image/jpeg"),
        "a form far too large": raw(part + bytes(2 * CAP) + b"\r\n--x--\r\n", in_parts),
        "a body shorter than announced": {
            "content_type": "image/png",
            "environ_overrides": {"wsgi.input": io.BytesIO(image), "CONTENT_LENGTH": "300000"},
        },
    }
    for name, request in bad.items():
        ask(name, "POST", "/predict", **request)
    ask("a file of the largest size", "POST", "/predict", network=True,
        **raw(image.ljust(CAP, b"\0"), "image/jpeg"))  # fmt: skip


def _urls(ask: Asking) -> None:
    images = {"/a.png": png8("left CC"), "/text": b"not an image", "/large": bytes(CAP + 1)}

    def answer(handler: Any) -> None:
        body = images.get(handler.path)
        send(body or b"", 404 if body is None else 200)(handler)

    with server(answer) as address:
        ask("URL", "POST", "/predict", network=True, json={"url": f"{address}/a.png"})
        ask("URL and age", "POST", "/predict", network=True,
            json={"url": f"{address}/a.png", "age": 57.5})  # fmt: skip
        for path in ("text", "large", "nothing"):
            ask(f"URL of {path}", "POST", "/predict", json={"url": f"{address}/{path}"})
    for url in ("file:///etc/passwd", "http://", "nothing", "http://user:word@127.0.0.1/",
                "ftp://127.0.0.1/a.png", "http://127.0.0.1:1/a.png"):  # fmt: skip
        ask(f"URL {url}", "POST", "/predict", json={"url": url})


def _studies(ask: Asking) -> None:
    left, right = jpeg("left CC"), jpeg("right CC mass")
    objects = [dicom(name, "jpeg-ls") for name in ("left CC", "left MLO mass", "right MLO")]
    good = {
        "named": form(left, jpeg("left MLO mass"), right, patient="A",
                      laterality=["L", "L", "R"], view=["CC", "MLO", "CC"]),
        "not named": form(left, right),
        "DICOM": form(*objects, name="a.dcm"),
        "DICOM of one woman": form(*objects[:2], name="a.dcm"),
        "one refused": form(left, b"no image", patient="A", laterality="L"),
    }  # fmt: skip
    for name, request in good.items():
        ask(name, "POST", "/studies", network=True, **request)
    bad = {
        "no file": form(patient="A"),
        "all refused": form(b"no image", refused()["noise"], patient="A"),
        "file of another name": form(left, field="picture"),
        "unknown field": form(left, nothing="A"),
        "unknown laterality": form(left, laterality="left"),
        "unknown view": form(left, view="side"),
        "two patients of three": form(left, left, left, patient=["A", "B"]),
        "five images": form(*[left] * 5),
        "forty images": form(*[left] * 40),
        "too many bytes": raw(bytes(2_800_000), "multipart/form-data; boundary=x"),
        "JSON": {"json": {}},
        "a ZIP": raw(b"PK\x03\x04", "application/zip"),
        "a ZIP as a file": form(b"PK\x03\x04" + bytes(30), name="a.zip"),
        "one image, raw": raw(left, "image/jpeg"),
    }
    for name, request in bad.items():
        ask(name, "POST", "/studies", **request)


def _tensor(**changes: Any) -> Request:
    return {"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 2], "data": [1, 2], **changes}


def _image(*files: bytes, **changes: Any) -> Request:
    data = [base64.b64encode(file).decode() for file in files]
    return {"name": "image", "datatype": "BYTES", "shape": [len(files)], "data": data, **changes}


def _inference(ask: Asking) -> None:
    images = jpeg("left CC"), jpeg("right CC mass")
    preprocessed = preprocess(read(images[0], needed=SIZE), SIZE, channels="three").pixels
    alone = preprocessed[None]
    asked: dict[str, Request] = {
        "pictures": {"inputs": [_image(*images)], "id": "7"},
        "one output": {"inputs": [_image(*images)], "outputs": [{"name": "label"}]},
        "pixels": {"inputs": [_tensor(shape=list(alone.shape), data=alone.ravel().tolist())]},
    }
    for name, content in asked.items():
        ask(name, "POST", INFER, network=True, json=content)
    for name, request in _binary(images, np.stack([preprocessed, preprocessed[:, ::-1]])):
        ask(name, "POST", INFER, network=True, **request)
    bad: dict[str, Any] = {
        "nothing": {},
        "no inputs": {"inputs": []},
        "pixels of another size": {"inputs": [_tensor()]},
        "data of another size": {"inputs": [_tensor(data=[1, 2, 3])]},
        "a value of 256": {"inputs": [_tensor(data=[1, 256])]},
        "data left out": {"inputs": [_tensor(data=None)]},
        "another datatype": {"inputs": [_tensor(datatype="FP32")]},
        "a negative shape": {"inputs": [_tensor(shape=[-1, 1, 2])]},
        "a huge shape": {"inputs": [_tensor(shape=[2**31] * 3)]},
        "binary data that is not there": {
            "inputs": [_tensor(parameters={"binary_data_size": 2})]
        },
        "two inputs": {"inputs": [_tensor(), _tensor()]},
        "no base64": {"inputs": [_image(b"", data=["é"])]},
        "more in the shape than there is": {"inputs": [_image(b"a", shape=[2])]},
        "five images": {"inputs": [_image(*[b"a"] * 5)]},
        "no image": {"inputs": [_image()]},
        "an unknown input": {"inputs": [_image(b"a", name="other")]},
        "an unknown output": {"inputs": [_image(b"a")], "outputs": [{"name": "other"}]},
        "bytes of no image": {"inputs": [_image(b"no image")]},
        "noise": {"inputs": [_image(refused()["noise"])]},
    }  # fmt: skip
    for name, content in bad.items():
        ask(name, "POST", INFER, json=content)
    ask("", "POST", "/v2/models/other/infer", json=asked["pictures"])
    ask("no JSON", "POST", INFER, data=b"{")
    ask("too many bytes", "POST", INFER, data=bytes(2_800_000))
    for length in ("x", "-1", "1000000", "5"):
        ask(f"header length {length}", "POST", INFER, data=json.dumps({"inputs": [_tensor()]}),
            headers={"Inference-Header-Content-Length": length})  # fmt: skip


def _binary(
    images: tuple[bytes, ...], preprocessed: np.ndarray[Any, Any]
) -> Iterator[tuple[str, Request]]:
    elements = b"".join(struct.pack("<I", len(each)) + each for each in images)
    tensors = {
        "pictures": (_image(*images), elements),
        "pixels": (_tensor(shape=list(preprocessed.shape)), preprocessed.tobytes()),
    }
    for name, (tensor, data) in tensors.items():
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": len(data)}
        for binary in (True, False):
            output = {"name": "probability", "parameters": {"binary_data": binary}}
            head = json.dumps({"inputs": [tensor], "outputs": [output]}).encode()
            answered = "binary" if binary else "JSON"
            yield (
                f"binary {name}, {answered} out",
                {
                    "data": head + data,
                    "headers": {"Inference-Header-Content-Length": str(len(head))},
                },
            )


def _other_settings(entries: Entries) -> None:
    """Settings that change answers."""
    image = jpeg("right CC mass")
    object_ = dicom("right CC mass", "jpeg-ls")
    for setting, value in (
        ("operating_point", "high_sensitivity"),
        ("operating_point", "high_specificity"),
        ("age_from_dicom", True),
        ("url_fetching", False),
        ("max_pixels", 1000),
    ):
        ask = Asking(_app(**{setting: value}), entries, f"{setting} {value}: ")
        network = setting != "max_pixels"
        ask("", "POST", "/predict", network=network, **form(image))
        ask("DICOM", "POST", "/predict", network=network, **form(object_))
        if setting == "url_fetching":
            ask("URL", "POST", "/predict", json={"url": "http://127.0.0.1/a.png"})
            ask("", "GET", "/")
    ask = Asking(create_app(ServiceSettings(), served(), reader()), entries, "default settings: ")
    for url in ("http://127.0.0.1/a.png", "http://localhost:9/a.png", "http://[::1]/",
                "http://169.254.169.254/", "http://10.0.0.1/"):  # fmt: skip
        ask(f"URL {url}", "POST", "/predict", json={"url": url})
    ask = Asking(_app(fetch_hosts="example.org"), entries, "fetch_hosts example.org: ")
    ask("URL", "POST", "/predict", json={"url": "http://127.0.0.1/a.png"})


def _keys(entries: Entries) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "keys")
        kept = hashlib.sha256(SECRET.encode()).hexdigest()
        file.write_text(f"ward sha256:{kept}\nold sha256:{'0' * 64} 2020-01-01\n", "utf-8")
        app = _app(api_keys_file=file, rate_limit_per_minute=4)
        ask = Asking(app, entries, "with keys: ")
        for path in ("/", "/model", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready",
                     "/v2", "/static/vendor/preact.LICENSE.txt", "/nothing"):  # fmt: skip
            ask("no key", "GET", path)
        ask("no key", "POST", "/predict", **form(jpeg("left CC")))
        basic = base64.b64encode(f"anybody:{SECRET}".encode()).decode()
        for name, headers in {
            "wrong key": {"Authorization": "Bearer x"},
            "bearer": {"Authorization": f"Bearer {SECRET}"},
            "X-API-Key": {"X-API-Key": SECRET},
            "basic": {"Authorization": f"Basic {basic}"},
        }.items():
            ask(name, "GET", "/v2", headers=headers)
        bearer = {"Authorization": f"Bearer {SECRET}"}
        _described_with_keys(ask, bearer)
        ask("fourth in a minute", "GET", "/v2", headers=bearer)
        ask("fifth in a minute", "GET", "/v2", headers=bearer)


def _described_with_keys(ask: Asking, headers: dict[str, str]) -> None:
    """What the description says besides where keys are asked for."""
    answer = ask("bearer", "GET", "/openapi.json", headers=headers)
    entry = ask.entries[f"{ask.prefix}GET /openapi.json, bearer"]
    without = ask.entries["GET /openapi.json"]["body"]
    old, new = (json.dumps(each, indent=1).splitlines() for each in (without, answer.json))
    entry["body"] = list(difflib.unified_diff(old, new, "without", "with keys", n=1, lineterm=""))


def _states(entries: Entries) -> None:
    """A service that has no model, or not yet, or is about to stop, or has no place left."""
    without = {
        "loading": LoadingEngine(served),
        "no model": LoadingEngine(_failing(ArtifactNotFoundError("There is no model."))),
        "other card": LoadingEngine(_failing(ArtifactMismatchError("Another card."))),
        "unexpected": LoadingEngine(_failing(RuntimeError("/srv/secret"))),
    }
    paths = ("/healthz", "/readyz", "/model", "/v2/health/live", "/v2/health/ready",
             "/v2/models/mammoscope", "/v2/models/mammoscope/ready")  # fmt: skip
    for name, engine in without.items():
        if name != "loading":
            engine._load()
        ask = Asking(create_app(ServiceSettings(), engine, reader()), entries, f"{name}: ")
        for path in paths if name == "loading" else ("/healthz", "/readyz", "/model"):
            ask("", "GET", path)
        for path in ("/predict", "/studies"):
            ask("", "POST", path, **form(jpeg("left CC")))
        ask("", "POST", INFER, json={})
    ask = Asking(_app(), entries, "about to stop: ")
    queue_of(ask.app).drain()
    for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"):
        ask("", "GET", path)
    ask("", "POST", "/predict", network=True, **form(jpeg("left CC")))
    ask = Asking(_app(request_threads=1, queue_size=0), entries, "no slot left: ")
    with ExitStack() as stack, ask.app.test_request_context():
        queue = queue_of(ask.app)
        stack.enter_context(queue.slot(Connection({})))
        ask("", "POST", "/predict", **form(jpeg("left CC")))
        ask("", "POST", "/studies", **form(jpeg("left CC")))
        ask("", "GET", "/readyz")


def _failing(error: Exception) -> Any:
    def make() -> Any:
        raise error

    return make
