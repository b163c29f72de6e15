"""Probes and metrics on separate listeners, which clients cannot keep busy."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import requests
from prometheus_client import make_wsgi_app
from structlog.testing import capture_logs

from mammoscope.service.app import monitoring_of, queue_of
from mammoscope.service.authorization import PROBES, probes_of
from mammoscope.settings.service import ServiceSettings
from mammoscope.system.side_listener import listen
from tests.fake_engine import FakeEngine, app_with

PATIENCE_S = 20
SETTING = "MAMMOSCOPE_PROBE_BIND"

pytestmark = pytest.mark.abuse("load")


def free_bind() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture(scope="module")
def bind() -> str:
    bind = free_bind()
    listen(probes_of(app_with(ServiceSettings(), FakeEngine())), bind, "probes", SETTING)
    return bind


def connected(bind: str, sent: bytes = b"") -> socket.socket:
    host, _, port = bind.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    connection.sendall(sent)
    return connection


def test_only_probes_are_answered(bind: str) -> None:
    for path in PROBES:
        answer = requests.get(f"http://{bind}{path}", headers={"X-Request-Id": "a"}, timeout=10)
        assert answer.status_code == 200, answer.text
        assert answer.headers["X-Request-Id"] == "a"
    for path in ("/", "/predict", "/model", "/v2", "/healthz/", "/metrics", "/readyz/%2e"):
        assert requests.get(f"http://{bind}{path}", timeout=10).status_code == 404
    assert requests.head(f"http://{bind}/healthz", timeout=10).status_code == 200
    assert requests.post(f"http://{bind}/healthz", timeout=10).status_code == 405


def test_readiness_agrees_with_the_service() -> None:
    app, bind = app_with(ServiceSettings(), FakeEngine()), free_bind()
    listen(probes_of(app), bind, "probes", SETTING)
    assert requests.get(f"http://{bind}/readyz", timeout=10).status_code == 200
    queue_of(app).drain()
    refused = requests.get(f"http://{bind}/readyz", timeout=10)
    assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")


MALFORMED = (
    b"\r\n\r\n",
    b"nonsense\r\n\r\n",
    b"GET /healthz\r\n\r\n",
    b"GET /healthz HTTP/1.1 x\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\n" + b"a: b\r\n" * 2000 + b"\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"\xff\x00 \xff \xff\r\n\xff\r\n\r\n",
)


@pytest.mark.parametrize("sent", MALFORMED)
def test_clients_with_invalid_requests_are_disconnected(bind: str, sent: bytes) -> None:
    with connected(bind, sent) as connection:
        try:
            answer = connection.recv(1000)
        except ConnectionResetError:
            answer = b""
        assert answer == b"" or b" 404 " in answer
    assert requests.get(f"http://{bind}/healthz", timeout=10).ok


SLOW = {
    "silent": b"",
    "a byte": b"G",
    "no end of the head": b"GET /healthz HTTP/1.1\r\nHost: a\r\n",
    "never closes": b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("case", SLOW)
def test_idle_clients_do_not_block_others(bind: str, case: str) -> None:
    with ExitStack() as open_:
        lingering = [open_.enter_context(connected(bind, SLOW[case])) for _ in range(100)]
        for _ in range(20):
            assert requests.get(f"http://{bind}/healthz", timeout=10).ok
        for connection in lingering:  # and each is disconnected
            received = b"-"
            while received:
                try:
                    received = connection.recv(65_536)
                except ConnectionResetError:
                    break


def test_a_client_that_does_not_read_is_disconnected() -> None:
    app, bind = app_with(ServiceSettings(), FakeEngine()), free_bind()

    def large(_environ: object, start_response: object) -> Iterator[bytes]:
        start_response("200 OK", [])  # type: ignore[operator]
        yield bytes(50_000_000)

    listen(large, bind, "large", SETTING)
    with connected(bind, b"GET / HTTP/1.1\r\n\r\n") as connection:
        time.sleep(7)  # longer than any client may take
        received, block = 0, b"-"
        while block:
            try:
                block = connection.recv(1_000_000)
            except ConnectionResetError:
                break
            received += len(block)
    assert received < 50_000_000
    listen(make_wsgi_app(monitoring_of(app).registry), bind := free_bind(), "metrics", SETTING)
    assert "mammoscope_ready 1.0" in requests.get(f"http://{bind}/metrics", timeout=10).text


def test_the_log_names_the_address_in_use_and_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, capture_logs() as logged:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        listen(probes_of(app_with(ServiceSettings(), FakeEngine())), bind, "probes", SETTING)
    (event,) = logged
    assert (event["event"], event["address"]) == ("probes_not_served", bind)
    assert event["reason"] == "Address already in use"
    assert SETTING in event["advice"]
    assert "exc_info" not in event
