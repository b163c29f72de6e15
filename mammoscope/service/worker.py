"""gunicorn thread worker that drains gracefully and times out slow headers."""

import json
import selectors
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from types import FrameType
from typing import Any, Final

import structlog
from flask import Flask
from gunicorn.http import errors as http_errors
from gunicorn.workers.gthread import TConn, ThreadWorker

from mammoscope.service import problems
from mammoscope.service.app import monitoring_of, queue_of
from mammoscope.service.monitoring import serve
from mammoscope.service.tracing import API_VERSION, API_VERSION_HEADER, REQUEST_ID_HEADER
from mammoscope.settings.service import ServiceSettings

SPARE_THREADS: Final = 32
"""HTTP threads in addition to the slots: for probes, pages, refusals and clients that send their
headers slowly. A waiting thread costs next to nothing."""

HEADER_TIMEOUT_S: Final = 10.0
"""Seconds within which a client must send the headers of a request."""

_HEAD_STATUSES: Final[Mapping[type[Exception], HTTPStatus]] = {
    http_errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    http_errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    http_errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    http_errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
}
"""Statuses of the requests that gunicorn refuses, other than 400."""

_log = structlog.get_logger(__name__)


class PoliteWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A worker that reports not ready before it stops listening.

    gunicorn's worker stops accepting connections as soon as it gets SIGTERM, while load balancers
    still send some; the connections in the backlog are then reset. This worker keeps accepting
    while ``/readyz`` already answers 503, then accepts and answers what is in the backlog.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings = ServiceSettings.from_environment()
        self._reading_heads: dict[TConn, float] = {}

    def load_wsgi(self) -> None:
        """Load the application and serve its metrics."""
        super().load_wsgi()
        if isinstance(self.wsgi, Flask):
            serve(monitoring_of(self.wsgi), self._settings.metrics_bind)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle SIGTERM."""
        application = getattr(self, "wsgi", None)
        if application is None:  # still being imported
            super().handle_exit(sig, frame)
            return
        queue = queue_of(application)
        if queue.draining:
            return
        queue.drain()
        timer = threading.Timer(self._settings.drain_s, super().handle_exit, (sig, frame))
        timer.daemon = True
        timer.start()

    def set_accept_enabled(self, enabled: bool) -> None:  # noqa: FBT001 gunicorn's signature
        """Listen or not; at the end, accept the backlog and close the listeners."""
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        for listener in self.sockets:
            with selectors.DefaultSelector() as waiting:
                waiting.register(listener, selectors.EVENT_READ)
                while waiting.select(timeout=0):
                    self.accept(listener)
            listener.close()

    def handle(self, conn: TConn) -> Any:
        """Handle one request of a connection."""
        self._reading_heads[conn] = time.monotonic() + HEADER_TIMEOUT_S
        try:
            goes_on = super().handle(conn)
        finally:
            self._reading_heads.pop(conn, None)
        if not goes_on:
            # Closing may wait seconds for the client. gunicorn closes in the only thread that
            # accepts connections, which would block all other clients.
            conn.close(graceful=True)
            conn.close = _is_closed
        return goes_on

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Answer a request whose headers have been read."""
        self._reading_heads.pop(conn, None)
        req.body.reader = _BodyReader(req.body.reader)
        return super().handle_request(req, conn)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:  # noqa: ARG002 gunicorn's signature
        """Answer a request that never reached the application with a problem document.

        gunicorn would answer with a page that repeats the input, and log the client's address.
        """
        request_id = uuid.uuid4().hex
        is_clients = isinstance(exc, http_errors.ParseException)
        status = _HEAD_STATUSES.get(type(exc), HTTPStatus.BAD_REQUEST)
        if is_clients:
            _log.info("malformed_request", request_id=request_id, reason=type(exc).__name__)
        else:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            _log.error("unexpected_error", request_id=request_id, exc_info=exc)
        problem = problems.framework_document(status, request_id)
        if isinstance(self.wsgi, Flask):
            monitoring_of(self.wsgi).refused(status, problem["code"])
        body = json.dumps(problem).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            "Connection: close\r\n"
            f"Content-Type: {problems.MEDIA_TYPE}\r\n"
            f"Content-Length: {len(body)}\r\n"
            f"{API_VERSION_HEADER}: {API_VERSION}\r\n"
            f"{REQUEST_ID_HEADER}: {request_id}\r\n\r\n"
        )
        with suppress(OSError):  # the client is gone
            client.sendall(head.encode() + body)

    def murder_pending(self) -> None:
        """Close connections that take too long to send their headers."""
        super().murder_pending()
        now = time.monotonic()
        for conn, deadline in list(self._reading_heads.items()):
            if now >= deadline and self._reading_heads.pop(conn, None) is not None:
                _hang_up(conn)


class _BodyReader:
    """Reads a body; malformed chunks look to the application like a body that broke off."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._reader.read(size)
        except http_errors.ParseException as err:
            raise OSError("The body is not in the chunks that its head announces.") from err
        return data


def _is_closed(graceful: bool = False) -> None:  # noqa: FBT001, FBT002 gunicorn's signature
    """Do nothing: replaces ``close`` of a connection that is closed already."""


def _hang_up(conn: TConn) -> None:
    """Make the thread that reads from a connection stop, so that it closes it."""
    with suppress(OSError):
        conn.sock.shutdown(socket.SHUT_RDWR)
