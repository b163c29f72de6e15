"""Fetching arbitrary URLs, redirects and answers gives an image or a typed error."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.provisional import domains

from mammoscope.errors import FetchError
from mammoscope.service.fetching import fetch
from mammoscope.settings.service import ServiceSettings
from tests.fake_engine import FakeEngine, app_with

pytestmark = pytest.mark.abuse("URL")

LOCAL = ServiceSettings(fetch_private_addresses=True, max_image_bytes=100_000, fetch_timeout_s=2)

ODD = st.sampled_from(
    (*"[]@:/?#%\\.;=&+|{}<>\"'^`", "%zz", "%2f", "%00", "::", "..", "//", "\x00", "\x7f", "\t",
     "\n", "\r\n", " ", "\xa0", "\u2028", "\u3002", "\uff0e", "\u2100", "\u212a", "\u200d",
     "\u0661", "\u00df", "\u0130", "\ud800", "\udfff", "\U0001f600", "xn--", "xn--a")
)  # fmt: skip
TEXT = st.lists(ODD | st.text(max_size=4), max_size=5).map("".join)
NUMBER = st.integers(-1, 2**34).flatmap(lambda n: st.sampled_from((str(n), hex(n), f"0{n:o}")))
HOST = st.one_of(
    domains(),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.lists(NUMBER, min_size=1, max_size=5).map(".".join),
    st.tuples(st.sampled_from(("[", "[::", "[v1.", "[fe80::1%25")), TEXT).map("".join),
    TEXT,
)
SCHEME = st.sampled_from(("http", "https", "HTTP", "ftp", "file", "data", "javascript", "", "h+1"))


@st.composite
def urls(draw: st.DrawFn) -> str:
    """Valid and invalid URLs and relative references, by the grammar of the URL standard."""
    parts = [
        draw(st.one_of(st.just(""), SCHEME.map(lambda scheme: f"{scheme}:"), TEXT)),
        draw(st.sampled_from(("//", "/", "", "///", "\\\\", "/\\"))),
        draw(st.one_of(st.just(""), TEXT.map(lambda user: f"{user}@"))),
        draw(HOST),
        draw(st.one_of(st.just(""), NUMBER.map(lambda port: f":{port}"), TEXT)),
        *(draw(st.one_of(st.just(""), TEXT.map(lambda t, m=mark: m + t))) for mark in "/?#"),
    ]
    return "".join(parts)


class Answering(socketserver.ThreadingTCPServer):
    """Sends the same bytes to every client."""

    daemon_threads = True
    answer = b""

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with request:
            try:
                request.recv(65_536)
                request.sendall(self.answer)
                request.shutdown(socket.SHUT_WR)
            except OSError:  # the client has closed the connection
                pass


@pytest.fixture(scope="module")
def answering() -> Iterator[Answering]:
    with Answering(("127.0.0.1", 0), socketserver.BaseRequestHandler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def address_of(answering: Answering) -> str:
    return f"http://127.0.0.1:{answering.server_address[1]}/a/b"


def fetch_from(answering: Answering) -> None:
    """Fetch; no host except the server's exists."""
    port = answering.server_address[1]

    def resolve(_host: str, asked: int) -> list[str]:
        if asked != port:
            raise OSError
        return ["127.0.0.1"]

    with contextlib.suppress(FetchError):
        assert isinstance(fetch(address_of(answering), LOCAL, resolve=resolve), bytes)


FUZZED = settings(
    max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


@FUZZED
@given(urls())
@example("http://[")
@example("http://a/\ud800")
@example("http://a/?\udfff")
def test_any_url_gives_a_typed_error(url: str) -> None:
    with pytest.raises(FetchError):
        fetch(url, LOCAL, resolve=lambda _host, _port: [])


@FUZZED
@given(location=urls())
@example(location="http://[")
@example(location="//[")
@example(location="http://\u2100/")
def test_any_redirect_gives_a_typed_error(answering: Answering, location: str) -> None:
    sent = location.encode("utf-8", "surrogatepass")
    answering.answer = b"HTTP/1.1 302 F\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % sent
    fetch_from(answering)


HEADER = st.sampled_from(
    (b"Content-Length: ", b"Transfer-Encoding: chunked", b"Content-Type: ", b"Content-Encoding: ",
     b"Location: ", b"Connection: ", b"X: ", b": ", b"X\t", b" folded")
)  # fmt: skip
VALUE = st.one_of(
    st.binary(max_size=6),
    st.sampled_from((b"-1", b"5", b"9" * 30, b"chunked", b"5, 5", b";;=\x80")),
)
LINES = st.lists(st.tuples(HEADER, VALUE).map(b"".join), max_size=4).map(b"\r\n".join)
STATUS = st.sampled_from(
    (b"HTTP/1.1 200 OK", b"HTTP/1.0 200", b"HTTP/1.1 302 F", b"HTTP/1.1 100 C", b"HTTP/1.1 -1 X",
     b"HTTP/9 200 OK", b"HTTP/1.1 204 N", b"", b"ICY 200 OK")
)  # fmt: skip
BODY = st.one_of(
    st.binary(max_size=30),
    st.lists(st.sampled_from((b"5\r\nabcde\r\n", b"0\r\n\r\n", b"-5\r\n", b"zz\r\n", b"5;a=\r\n",
                              b"fffffffffffffffffff\r\n", b"\r\n"))).map(b"".join),
)  # fmt: skip


@FUZZED
@given(status=STATUS, lines=LINES, body=BODY)
@example(status=b"HTTP/1.1 200 OK", lines=b"Transfer-Encoding: chunked", body=b"-5\r\nabcde")
def test_any_answer_gives_bytes_or_a_typed_error(
    answering: Answering, status: bytes, lines: bytes, body: bytes
) -> None:
    answering.answer = b"\r\n".join((status, lines, b"", body))
    fetch_from(answering)


def test_a_chunk_of_minus_one_byte_is_refused(answering: Answering) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"
    answering.answer = head + bytes(2 * LOCAL.max_image_bytes)
    with pytest.raises(FetchError):
        fetch(address_of(answering), LOCAL)


@pytest.mark.parametrize("location", ["http://[", "http://a:b/", "//[::1", "http://a:b\\c"])
def test_the_service_answers_a_bad_redirect_with_a_problem(
    answering: Answering, location: str
) -> None:
    answering.answer = f"HTTP/1.1 302 F\r\nLocation: {location}\r\n\r\n".encode()
    client = app_with(LOCAL, FakeEngine()).test_client()
    answer = client.post("/predict", json={"url": address_of(answering)})
    assert answer.status_code == 400
    assert answer.json["code"] == "url_not_allowed"


def test_the_service_answers_a_url_that_cannot_be_encoded_with_a_problem() -> None:
    client = app_with(LOCAL, FakeEngine()).test_client()
    answer = client.post(
        "/predict", data=b'{"url": "http://a/\\ud800"}', content_type="application/json"
    )
    assert answer.status_code == 400
    assert answer.json["code"] == "url_not_allowed"
