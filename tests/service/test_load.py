"""The request queue: slots, concurrency, deadlines, clients that disconnect, and draining."""

import contextlib
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder, TestResponse

from mammoscope import errors
from mammoscope.imaging.mammogram import Mammogram
from mammoscope.model.prediction import Prediction
from mammoscope.service.app import monitoring_of, queue_of
from mammoscope.service.client_socket import ClientSocket
from mammoscope.service.connection import Connection
from mammoscope.service.request_queue import RequestQueue
from mammoscope.settings.service import ServiceSettings
from tests.fake_engine import IMAGE, FakeEngine, app_with, assert_good, assert_problem, upload
from tests.servers import send, server

PATIENCE_S = 20


def wait_until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


class HeldEngine(FakeEngine):
    """Predicts when released, and counts concurrent requests."""

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()
        self.at_work = 0
        self.most = 0
        self._lock = threading.Lock()

    def predict(self, mammogram: Mammogram, **options: Any) -> Prediction:
        with self._lock:
            self.at_work += 1
            self.most = max(self.most, self.at_work)
        try:
            assert self.release.wait(PATIENCE_S)
            return super().predict(mammogram, **options)
        finally:
            with self._lock:
                self.at_work -= 1


@pytest.fixture
def engine() -> Iterator[HeldEngine]:
    engine = HeldEngine()
    yield engine
    engine.release.set()


def service(engine: FakeEngine, **settings: Any) -> Flask:
    return app_with(ServiceSettings(request_threads=2, queue_size=3, **settings), engine)


class Asking:
    """Requests in separate threads."""

    def __init__(
        self, app: Flask, count: int, content: dict[str, Any] | None = None, **options: Any
    ) -> None:
        self.answers: list[TestResponse] = []
        self._content = content
        self._threads = [
            threading.Thread(target=self._ask, args=(app, options)) for _ in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, app: Flask, options: dict[str, Any]) -> None:
        content = self._content or upload(IMAGE)
        self.answers.append(app.test_client().post("/predict", **content, **options))

    def finish(self) -> list[TestResponse]:
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        return self.answers


def is_ready(app: Flask) -> set[Any]:
    """Readiness by the routes and the metrics, which differ for a moment while it changes."""
    value = monitoring_of(app).registry.get_sample_value
    stuck = value("mammoscope_not_ready", {"reason": "no_free_slot"})
    ready = value("mammoscope_ready")
    assert ready is not None
    client = app.test_client()
    assert client.get("/healthz").status_code == 200
    statuses = {client.get(path).status_code for path in ("/readyz", "/v2/health/ready")}
    return statuses | {stuck, 1 - ready}


@pytest.mark.abuse("load")
@pytest.mark.parametrize("requests", [3, 5])  # some wait for running requests; no slot is free
def test_not_ready_while_no_slot_becomes_free(engine: HeldEngine, requests: int) -> None:
    app = service(engine, full_queue_grace_s=2.0)
    asking = Asking(app, requests)
    wait_until(lambda: queue_of(app).slots_taken == requests and queue_of(app).waiting > 0)
    assert is_ready(app) == {200, 0}
    wait_until(lambda: is_ready(app) == {503, 1})
    refused = app.test_client().get("/readyz")
    assert_problem(refused, 503, "not_ready")
    assert "2 s" in refused.json["detail"]
    engine.release.set()
    assert [answer.status_code for answer in asking.finish()] == [200] * requests
    assert is_ready(app) == {200, 0}


def test_ready_while_slots_become_free(engine: HeldEngine) -> None:
    app = service(engine, full_queue_grace_s=0.5)
    engine.release.set()
    ended = time.monotonic() + 2
    while time.monotonic() < ended:
        Asking(app, 5).finish()
        assert is_ready(app) == {200, 0}


@pytest.mark.abuse("load")
def test_requests_beyond_the_queue_are_refused_and_probes_answered(engine: HeldEngine) -> None:
    app = service(engine)
    queue = queue_of(app)
    asking = Asking(app, 5)
    wait_until(lambda: queue.waiting == 3)
    client = app.test_client()
    for _ in range(3):
        refused = client.post("/predict", **upload(IMAGE))
        assert_problem(refused, 429, "service_busy")
        assert int(refused.headers["Retry-After"]) >= 1
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 200
    engine.release.set()
    assert [answer.status_code for answer in asking.finish()] == [200] * 5
    assert engine.most == 2
    assert (queue.slots_taken, queue.waiting) == (0, 0)
    assert_good(client)


def connected() -> tuple[ClientSocket, socket.socket]:
    """The service's socket and the client's."""
    ours, theirs = socket.socketpair()
    return ClientSocket(ours.family, ours.type, ours.detach()), theirs


def test_a_body_counts_towards_the_memory_limit_as_it_arrives() -> None:
    app = service(FakeEngine(), max_waiting_bytes=len(IMAGE) + 1000)
    queue = queue_of(app)
    ours, theirs = connected()
    with ours, theirs, ours.makefile("rb") as body:
        stalled = Asking(
            app,
            1,
            {"content_type": "image/png"},
            environ_overrides={
                "wsgi.input": body,
                "CONTENT_LENGTH": str(10**7),  # but nothing arrives
                "gunicorn.socket": ours,
            },
        )
        wait_until(lambda: queue.slots_taken == 1)
        assert_good(app.test_client())
        theirs.close()
        (answer,) = stalled.finish()
    assert_problem(answer, 400, "invalid_request")
    assert_good(app.test_client())


@pytest.mark.abuse("load")
def test_waiting_ends_at_the_deadline(engine: HeldEngine) -> None:
    app = service(engine, request_timeout_s=0.5)
    asking = Asking(app, 4)
    wait_until(lambda: len(asking.answers) == 2)
    for answer in asking.answers:
        assert_problem(answer, 503, "deadline_exceeded")
        assert answer.headers["Retry-After"]
    engine.release.set()
    statuses = sorted(answer.status_code for answer in asking.finish())
    assert statuses == [503] * 4, "what was at work has ended too late as well"
    assert len(engine.operating_points) == 2
    assert_good(app.test_client())


@pytest.mark.abuse("load")
@pytest.mark.parametrize("unread", [b"", b"GET / HTTP/1.1\r\n"])
def test_requests_of_disconnected_clients_are_cancelled(engine: HeldEngine, unread: bytes) -> None:
    app = service(engine)
    queue = queue_of(app)
    working = Asking(app, 2)
    wait_until(lambda: engine.at_work == 2)
    ours, theirs = connected()
    with ours, theirs:
        left = Asking(app, 1, environ_overrides={"gunicorn.socket": ours})
        wait_until(lambda: queue.waiting == 1)
        theirs.sendall(unread)
        theirs.close()
        (answer,) = left.finish()
    assert answer.status_code == 499
    assert queue.waiting == 0
    engine.release.set()
    assert [answer.status_code for answer in working.finish()] == [200, 200]
    assert len(engine.operating_points) == 2


def test_upload_ends_at_the_deadline() -> None:
    """As in the worker: one thread reads the body, and another looks for slow clients."""
    app = service(FakeEngine(), request_timeout_s=0.4)
    ours, theirs = connected()
    began = time.monotonic()
    with ours, theirs:
        theirs.sendall(IMAGE[:50])  # and nothing more
        asking = Asking(
            app,
            1,
            {"content_type": "image/png"},
            environ_overrides={
                "wsgi.input": Received(ours),
                "CONTENT_LENGTH": str(len(IMAGE)),
                "gunicorn.socket": ours,
            },
        )
        wait_until(lambda: ours.is_slow(time.monotonic()))
        assert time.monotonic() - began >= 0.3
        ours.stop_reading()
        (answer,) = asking.finish()
        assert_problem(answer, 408, "upload_timeout")
    assert queue_of(app).slots_taken == 0


class Received(io.RawIOBase):
    """A body as gunicorn reads it, by ``recv``."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, block: Any) -> int:
        data = self.connection.recv(len(block))
        block[: len(data)] = data
        return len(data)


def test_first_come_first_served() -> None:
    queue = RequestQueue(concurrency=1, queue_size=10, max_bytes=100, timeout_s=PATIENCE_S)
    connection = Connection({})
    order: list[int] = []

    def come(number: int) -> None:
        with queue.slot(connection) as slot, slot.running():
            order.append(number)

    threads = [threading.Thread(target=come, args=(number,)) for number in range(8)]
    with queue.slot(connection) as first, first.running():
        for number, thread in enumerate(threads):
            thread.start()
            wait_until(lambda number=number: queue.waiting == number + 1)
    for thread in threads:
        thread.join(PATIENCE_S)
    assert order == list(range(8))


def test_failures_release_slots_and_queue_positions() -> None:
    queue = RequestQueue(concurrency=1, queue_size=0, max_bytes=100, timeout_s=PATIENCE_S)
    for _ in range(5):
        with (
            contextlib.suppress(RuntimeError),
            queue.slot(Connection({})) as slot,
            slot.running(),
        ):
            with pytest.raises(errors.ServiceBusyError), queue.slot(Connection({})):
                pass
            raise RuntimeError
    assert queue.slots_taken == 0


def test_bodies_beyond_the_memory_limit_are_refused(engine: HeldEngine) -> None:
    size = int(EnvironBuilder(method="POST", **upload(IMAGE)).get_environ()["CONTENT_LENGTH"])
    app = service(engine, max_waiting_bytes=5 * size // 2, max_image_bytes=100_000)
    client = app.test_client()
    asking = Asking(app, 2)
    wait_until(lambda: engine.at_work == 2)
    refused = client.post("/predict", **upload(IMAGE))
    assert_problem(refused, 429, "service_busy")
    assert refused.headers["Retry-After"]
    # Bodies are counted as they arrive, and a body that is too large is not read.
    chunked = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    for environ, status, code in (
        ({**chunked, "wsgi.input": io.BytesIO(IMAGE.ljust(size, b"\0"))}, 429, "service_busy"),
        ({"wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "1" * 12}, 413, "request_too_large"),
    ):
        answer = client.post("/predict", content_type="image/png", environ_overrides=environ)
        assert_problem(answer, status, code)
    engine.release.set()
    assert [answer.status_code for answer in asking.finish()] == [200, 200]
    assert_good(client)


@pytest.mark.abuse("load")
@pytest.mark.parametrize("announced", [True, False])
def test_fetched_images_count_towards_the_memory_limit(engine: HeldEngine, announced: bool) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if announced:
            send(IMAGE)(handler)
        else:
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(IMAGE)

    with server(answer) as address:
        named = {"json": {"url": address}}
        body = EnvironBuilder(method="POST", **named).content_length
        assert body is not None
        app = service(
            engine,
            max_waiting_bytes=3 * (body + len(IMAGE)) - 1,
            fetch_private_addresses=True,
        )
        asking = Asking(app, 2, named)
        wait_until(lambda: engine.at_work == 2)
        refused = app.test_client().post("/predict", **named)
        assert_problem(refused, 429, "service_busy")
        assert refused.headers["Retry-After"]
        engine.release.set()
        assert [answer.status_code for answer in asking.finish()] == [200, 200]
        for _ in range(3):  # their memory was released
            assert app.test_client().post("/predict", **named).status_code == 200


def test_a_single_body_is_always_accepted(engine: HeldEngine) -> None:
    engine.release.set()
    assert_good(service(engine, max_waiting_bytes=1).test_client())


def test_readiness_fails_before_shutdown() -> None:
    app = service(FakeEngine())
    client = app.test_client()
    queue_of(app).drain()
    assert_problem(client.get("/readyz"), 503, "not_ready")
    assert client.get("/healthz").status_code == 200
    assert_good(client)
