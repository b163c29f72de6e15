"""gunicorn worker of the application: drains gracefully and limits connections."""

import json
import resource
import selectors
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from types import FrameType
from typing import Any, Final

import structlog
from flask import Flask
from gunicorn.http import errors as http_errors
from gunicorn.http.body import LengthReader
from gunicorn.workers.gthread import TConn
from prometheus_client import make_wsgi_app

from mammoscope.errors import ConfigurationError
from mammoscope.service import problems
from mammoscope.service.app import monitoring_of, queue_of
from mammoscope.service.authorization import probes_of
from mammoscope.service.tracing import API_VERSION, API_VERSION_HEADER, REQUEST_ID_HEADER
from mammoscope.service.waiting_worker import WaitingWorker
from mammoscope.settings.service import ENVIRONMENT_PREFIX, ServiceSettings
from mammoscope.system.side_listener import listen

SPARE_THREADS: Final = 8
"""Threads in addition to the slots, for refusals; none of them waits for a client."""

_SWITCH_S: Final = 0.0005
"""Switch interval of Python threads in seconds. With Python's default of 5 ms, a probe next to many
running threads would wait for some tenths of a second."""

_MOST_CONNECTIONS: Final = 1000
_OWN_FILES: Final = 160
"""Number of descriptors for the model, the logs, the reading pool and the side listeners."""

_FILES_A_SLOT: Final = 4
"""Descriptors that a request may need besides its connection, for example to fetch an image."""

_HEAD_STATUSES: Final[Mapping[type[Exception], HTTPStatus]] = {
    http_errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    http_errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    http_errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    http_errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
}
"""Statuses of the requests that gunicorn refuses, other than 400."""

_log = structlog.get_logger(__name__)


def most_connections(settings: ServiceSettings) -> int:
    """Return the maximum number of client connections, below the limit of descriptors.

    Raises
    ------
    ConfigurationError
        If the limit of descriptors is too low for any.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    slots = settings.concurrency + settings.queue_size
    own = _OWN_FILES + _FILES_A_SLOT * slots
    if limit == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    if limit < own + slots:
        raise ConfigurationError(
            f"The process may have {limit} open files; {slots} slots need {own + slots}. "
            "Raise the limit (ulimit -n) or lower MAMMOSCOPE_QUEUE_SIZE."
        )
    return min(_MOST_CONNECTIONS, limit - own)


class PoliteWorker(WaitingWorker):
    """A worker that reports not ready before it stops listening.

    gunicorn's worker stops accepting connections as soon as it gets SIGTERM, while load balancers
    still send some; the connections in the backlog are then reset. This worker keeps accepting
    while ``/readyz`` already answers 503, then accepts and answers the connections in the backlog.
    """

    def load_wsgi(self) -> None:
        """Load the application, and serve probes and metrics on separate listeners."""
        sys.setswitchinterval(_SWITCH_S)
        super().load_wsgi()
        self._app: Any = self.wsgi  # type: ignore[has-type]
        self.wsgi = self._run_app
        if isinstance(self._app, Flask):
            probes, metrics = probes_of(self._app), make_wsgi_app(monitoring_of(self._app).registry)
            listen(probes, self.settings.probe_bind, "probes", f"{ENVIRONMENT_PREFIX}PROBE_BIND")
            listen(
                metrics, self.settings.metrics_bind, "metrics", f"{ENVIRONMENT_PREFIX}METRICS_BIND"
            )

    def _run_app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        reader: _BodyReader = environ["wsgi.input"].reader

        def start(*args: Any) -> Any:
            if reader.is_unfinished():  # the rest is discarded, see _linger
                reader.request.force_close()
            return start_response(*args)

        return self._app(environ, start)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle SIGTERM."""
        application = getattr(self, "_app", None)
        if application is None:  # it is still being imported
            super().handle_exit(sig, frame)
            return
        queue = queue_of(application)
        if queue.draining:
            return
        queue.drain()
        timer = threading.Timer(self.settings.drain_s, super().handle_exit, (sig, frame))
        timer.daemon = True
        timer.start()

    def set_accept_enabled(self, enabled: bool) -> None:  # noqa: FBT001 gunicorn's signature
        """Listen or stop listening; in the end, accept the backlog and close the listeners."""
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        for listener in self.sockets:
            with selectors.DefaultSelector() as connected:
                connected.register(listener, selectors.EVENT_READ)
                while connected.select(timeout=0):
                    self.accept(listener)
            listener.close()
        self.end_silent()

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Answer a request whose headers have been read."""
        req.body.reader = _BodyReader(req)
        conn.sock.begin_body()
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
        self.refuse(client, status, request_id)

    def refuse(self, client: socket.socket, status: HTTPStatus, request_id: str) -> None:
        """Answer a request that never reaches the application with a problem document."""
        problem = problems.framework_document(status, request_id)
        if isinstance(self._app, Flask):
            monitoring_of(self._app).refused(status, problem["code"])
        body = json.dumps(problem).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            "Connection: close\r\n"
            f"Content-Type: {problems.MEDIA_TYPE}\r\n"
            f"Content-Length: {len(body)}\r\n"
            f"{API_VERSION_HEADER}: {API_VERSION}\r\n"
            f"{REQUEST_ID_HEADER}: {request_id}\r\n\r\n"
        )
        with suppress(OSError):  # the client has disconnected
            client.sendall(head.encode() + body)


class _BodyReader:
    """Reads a body; to the application, malformed chunks look like an incomplete body."""

    def __init__(self, request: Any) -> None:
        self.request: Final = request
        self._reader: Final = request.body.reader

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._reader.read(size)
        except http_errors.ParseException as err:
            raise OSError("The body does not have the declared chunks.") from err
        return data

    def is_unfinished(self) -> bool:
        """Whether the client may still be sending the body."""
        if isinstance(self._reader, LengthReader):
            return bool(self._reader.length > 0)
        return getattr(self._reader, "parser", None) is not None
