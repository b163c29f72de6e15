"""Invalid and hostile bodies and requests."""

import json
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.abuse.images import IMAGE, JPEG
from tests.abuse.service import CAP, PLANTED, Abused, assert_refused
from tests.service_process import PATIENCE_S

pytestmark = pytest.mark.abuse("body")

Content = dict[str, Any]


def raw(data: Any, media_type: str = "image/jpeg") -> Content:
    return {"data": data, "headers": {"Content-Type": media_type}}


def form(*files: bytes, field: str = "file", **fields: Any) -> Content:
    return {"files": [(field, (f"{PLANTED}.png", file)) for file in files], "data": fields}


def plain_json(content: str | bytes) -> Content:
    return raw(content, "application/json")


def padded(size: int) -> bytes:
    """A JPEG of exactly `size` bytes: decoders ignore bytes after its end."""
    return JPEG.ljust(size, b"\0")


def blocks(size: int) -> Iterator[bytes]:
    """A body sent in chunks, without a length."""
    data = padded(size)
    for start in range(0, size, 65_536):
        yield data[start : start + 65_536]


TRUNCATED = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'

AT_THE_CAP: dict[str, Any] = {
    "raw": lambda size: raw(padded(size)),
    "chunked": lambda size: raw(blocks(size)),
    "form": lambda size: form(padded(size)),
}


@pytest.mark.parametrize("way", AT_THE_CAP)
def test_bytes_under_at_and_over_the_cap(abused: Abused, way: str) -> None:
    make = AT_THE_CAP[way]
    for size in (CAP - 1, CAP):
        assert abused.ask(**make(size)).status_code == 200
    assert_refused(abused.ask(**make(CAP + 1)), 413, "image_too_large")
    assert_refused(abused.ask(**make(CAP + 100_000)), 413, "request_too_large")


REFUSALS: dict[str, tuple[Content, int, str]] = {
    "much too large": (raw(bytes(10 * CAP)), 413, "request_too_large"),
    "truncated form": (raw(TRUNCATED, "multipart/form-data; boundary=x"), 400, "invalid_request"),
    "form without boundary": (raw(b"abc", "multipart/form-data"), 400, "invalid_request"),
    "form of another boundary": (
        raw(TRUNCATED + b"\r\n--x--\r\n", "multipart/form-data; boundary=y"),
        400,
        "invalid_request",
    ),
    "huge text part": (form(IMAGE, text="a" * 3_000_000), 413, "request_too_large"),
    "very many parts": (
        form(IMAGE, **{f"f{number}": "a" for number in range(5_000)}),
        413,
        "request_too_large",
    ),
    "very many files": (form(*([IMAGE] * 100)), 413, "request_too_large"),
    "no file": (form(field="other"), 415, "unsupported_media_type"),
    "no file but a field": (
        {"files": {"text": (None, PLANTED)}},
        400,
        "invalid_request",
    ),
    "two files": (form(IMAGE, IMAGE), 400, "invalid_request"),
    "an empty file": (form(b""), 422, "empty_image"),
    "file of another name": (form(IMAGE, field=PLANTED), 400, "invalid_request"),
    "unknown field": (form(IMAGE, patient=PLANTED), 400, "invalid_request"),
    "age in words": (form(IMAGE, age=PLANTED), 400, "invalid_request"),
    "empty body": (raw(b""), 422, "empty_image"),
    "deep JSON": (plain_json("[" * 15_000), 400, "invalid_request"),
    "deep JSON object": (plain_json('{"url":' * 2_300), 400, "invalid_request"),
    "large JSON": (plain_json(json.dumps({"url": "a" * 1_000_000})), 413, "request_too_large"),
    "no JSON": (plain_json(PLANTED), 400, "invalid_request"),
    "empty JSON body": (plain_json(b""), 400, "invalid_request"),
    "JSON of bad text": (plain_json(b'{"url": "\xff"}'), 400, "invalid_request"),
    "JSON with huge number": (plain_json("1" * 10_000), 400, "invalid_request"),
    **{
        f"JSON {content}": (plain_json(content), 400, "invalid_request")
        for content in (
            "null", "true", "7", "NaN", '"url"', "[]", "{}", '["http://a/"]', '{"url": null}',
            '{"url": 7}', '{"url": ["http://a/"]}', '{"url": {}}', '{"url": true}',
            '{"uri": "http://a/"}', '{"url": "http://a/", "x": 1}',
            '{"url": "http://a/", "age": "x"}', '{"url": "http://a/", "age": 1e999}',
        )
    },
    "text": (raw(b"abc", "text/plain"), 415, "unsupported_media_type"),
    "HTML form": (
        raw(b"url=a", "application/x-www-form-urlencoded"), 415, "unsupported_media_type",
    ),
    "no media type": ({"data": IMAGE}, 415, "unsupported_media_type"),
    "media type that is none": (raw(IMAGE, PLANTED), 415, "unsupported_media_type"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_refused(abused: Abused, case: str) -> None:
    content, status, code = REFUSALS[case]
    assert_refused(abused.ask(**content), status, code)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "PROPFIND", "TRACE"])
def test_wrong_methods(abused: Abused, method: str) -> None:
    answer = abused.ask(method=method)
    assert_refused(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "OPTIONS, POST"


OTHER_ROUTES: dict[str, tuple[str, str, Content, int, str]] = {
    "unknown path": (f"/{PLANTED}", "GET", {}, 404, "not_found"),
    "path with dots": ("/static/%2e%2e/app.py", "GET", {}, 404, "not_found"),
    "path of zeros": ("/static/%00", "GET", {}, 404, "not_found"),
    "explain that is neither": (
        f"/predict?explain={PLANTED}", "POST", form(IMAGE), 400, "invalid_request",
    ),
    "age in the query": (f"/predict?age={PLANTED}", "POST", raw(IMAGE), 400, "invalid_request"),
    "study of too many": ("/studies", "POST", form(*([IMAGE] * 17)), 413, "request_too_large"),
    "study of nothing": ("/studies", "POST", form(x=PLANTED), 415, "unsupported_media_type"),
    "study of a side that is none": (
        "/studies", "POST", form(IMAGE, laterality=PLANTED), 400, "invalid_request",
    ),
    "study as JSON": ("/studies", "POST", {"json": {}}, 415, "unsupported_media_type"),
    "model of another name": (f"/v2/models/{PLANTED}", "GET", {}, 404, "unknown_model"),
    "inference of nothing": ("/v2/models/mammoscope/infer", "POST", {}, 400, "invalid_request"),
    "inference of too much": (
        "/v2/models/mammoscope/infer", "POST",
        {"json": {"inputs": [{"name": "pixels", "datatype": "UINT8",
                              "shape": [2**31, 96, 72], "data": []}]}},
        400, "invalid_request",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHER_ROUTES)
def test_refused_by_other_routes(abused: Abused, case: str) -> None:
    path, method, content, status, code = OTHER_ROUTES[case]
    assert_refused(abused.ask(path, method, **content), status, code)


def head(*lines: str) -> bytes:
    return "\r\n".join(("POST /predict HTTP/1.1", "Host: a", *lines, "", "")).encode()


JPEG_HEAD = ("Content-Type: image/jpeg", f"Content-Length: {len(JPEG)}")
CHUNKED_HEAD = ("Content-Type: image/jpeg", "Transfer-Encoding: chunked")


def spoken(abused: Abused, *parts: bytes, pause_s: float = 0.0) -> tuple[int, dict[str, Any]]:
    """Send bytes that no HTTP library would send; returns status and JSON of the answer."""
    with socket.create_connection(("127.0.0.1", abused.port), timeout=PATIENCE_S) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause_s)
        received = b""
        while b"\r\n\r\n" not in received or not received.rstrip().endswith(b"}"):
            block = connection.recv(65_536)
            if not block:
                break
            received += block
    answered, _, body = received.partition(b"\r\n\r\n")
    assert b"\r\nContent-Type: application/problem+json" in answered, received
    assert PLANTED.encode() not in received
    return int(answered.split()[1]), json.loads(body)


MALFORMED: dict[str, tuple[bytes, int, str]] = {
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", 400, "invalid_request"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "invalid_request"),
    "a line that is none": (f"{PLANTED}\r\n\r\n".encode(), 400, "invalid_request"),
    "HTTP of the future": (b"GET /healthz HTTP/9.9\r\n\r\n", 400, "invalid_request"),
    "long path": (
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", 414, "request_too_large",
    ),
    "long header": (head("X: " + "a" * 100_000), 431, "request_too_large"),
    "very many headers": (
        head(*(f"X{number}: a" for number in range(1_000))), 431, "request_too_large",
    ),
    "header without a name": (head(f": {PLANTED}"), 400, "invalid_request"),
    "header with a blank": (head(f"X Y: {PLANTED}"), 400, "invalid_request"),
    "two lengths": (head("Content-Length: 3", "Content-Length: 4"), 400, "invalid_request"),
    "length in words": (head(f"Content-Length: {PLANTED}"), 400, "invalid_request"),
    "negative length": (head("Content-Length: -1"), 400, "invalid_request"),
    "length and chunks": (head(*CHUNKED_HEAD, "Content-Length: 4"), 400, "invalid_request"),
    "unknown coding": (head("Transfer-Encoding: " + PLANTED), 501, "invalid_request"),
    "expectation": (head("Expect: " + PLANTED), 417, "invalid_request"),
    "chunks without sizes": (head(*CHUNKED_HEAD) + b"zz\r\n", 400, "invalid_request"),
    "chunk longer than announced": (
        head(*CHUNKED_HEAD) + b"3\r\nabcdef\r\n0\r\n\r\n", 400, "invalid_request",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_requests_are_refused(abused: Abused, case: str) -> None:
    sent, status, code = MALFORMED[case]
    answered, problem = spoken(abused, sent)
    assert (answered, problem["code"]) == (status, code)
    assert problem["status"] == status


def test_a_slow_upload_is_ended(abused: Abused) -> None:
    began = time.monotonic()
    drops = [JPEG[place : place + 1] for place in range(5)]
    status, problem = spoken(abused, head(*JPEG_HEAD), *drops, pause_s=0.2)
    assert (status, problem["code"]) == (408, "upload_timeout")
    assert time.monotonic() - began >= 6


def leave(connection: socket.socket) -> None:
    """Close the connection at once, with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


SENT: dict[str, bytes] = {
    "before the head": b"",
    "within the head": head(*JPEG_HEAD)[:30],
    "before the body": head(*JPEG_HEAD),
    "within the body": head(*JPEG_HEAD) + JPEG[:2000],
    "within a chunk": head(*CHUNKED_HEAD) + b"ffff\r\nabc",
    "before the answer": head(*JPEG_HEAD) + JPEG,
}


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("case", SENT)
def test_clients_that_disconnect_do_no_harm(abused: Abused, case: str, reset: bool) -> None:
    for _ in range(5):
        connection = socket.create_connection(("127.0.0.1", abused.port), timeout=PATIENCE_S)
        connection.sendall(SENT[case])
        if reset:
            leave(connection)
        connection.close()


def test_a_client_that_does_not_read_does_no_harm(abused: Abused) -> None:
    with socket.create_connection(("127.0.0.1", abused.port), timeout=PATIENCE_S) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        explained = head(*JPEG_HEAD).replace(b"/predict", b"/predict?explain=true")
        connection.sendall((explained + JPEG) * 3)
        assert abused.ask(**raw(JPEG)).status_code == 200
