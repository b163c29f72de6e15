"""Listeners beside the service's own, for few and short questions: probes, and Prometheus'.

Each has one thread and asks nothing of the service's, so that clients cannot keep it busy there.
Nor here: whoever does not ask and take the answer in time is hung up on, and where too many are
connected, the one that came first is.
"""

import asyncio
import io
import socket
import threading
from http.client import HTTPException, parse_headers
from typing import Any, Final
from urllib.parse import unquote
from wsgiref.handlers import SimpleHandler
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog

from mammoscope.service.authorization import PROBES

_TIMEOUT_S: Final = 5.0
"""Seconds from the connection to the last byte of the answer."""

_MOST_CONNECTIONS: Final = 32
_MAX_HEAD_BYTES: Final = 16 * 1024

_log = structlog.get_logger(__name__)


def listen(app: WSGIApplication, bind: str, name: str) -> None:
    """Have `app` answer requests without a body at an address, in a thread of its own.

    A port that is taken is logged, and does not stop the service.

    Parameters
    ----------
    app
        Answers within milliseconds.
    bind
        ``host:port``; nothing listens where it is empty.
    name
        What is served, for the log.
    """
    if not bind:
        return
    host, _, port = bind.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host.strip("[]"), int(port)), family=family)
    except OSError:
        _log.exception(f"{name}_not_served")
        return
    served = _Listener(app).serve(listener)
    threading.Thread(target=asyncio.run, args=(served,), daemon=True, name=name).start()
    _log.info(f"{name}_served")


def probes_of(app: WSGIApplication) -> WSGIApplication:
    """Return an application that passes on to `app` what probes ask, and nothing else."""

    def probes(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        if environ["PATH_INFO"] in PROBES:
            return app(environ, start_response)
        start_response("404 Not Found", [("Content-Length", "0")])
        return []

    return probes


class _Listener:
    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self._asking: dict[asyncio.Task[Any], None] = {}  # in the order in which they came

    async def serve(self, listener: socket.socket) -> None:
        server = await asyncio.start_server(
            self._answer, sock=listener, limit=_MAX_HEAD_BYTES, backlog=_MOST_CONNECTIONS
        )
        await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 start_server makes one for each connection
        if len(self._asking) >= _MOST_CONNECTIONS:
            next(iter(self._asking)).cancel()
        self._asking[task] = None
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.transport.set_write_buffer_limits(0)  # drain waits until all is sent
                writer.write(_answer_to(head, self._app))
                await writer.drain()
                writer.write_eof()
                await reader.read(1)  # closing earlier could lose the answer on its way
        except (
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            HTTPException,
            OSError,
            ValueError,
        ):
            pass  # TimeoutError is an OSError; nobody is told anything who does not ask properly
        finally:
            self._asking.pop(task, None)
            writer.transport.abort()


def _answer_to(head: bytes, app: WSGIApplication) -> bytes:
    """Answer of `app`, in HTTP/1.0, to a request's head; raises ValueError where it is none."""
    request_line, _, fields = head.partition(b"\r\n")
    method, target, protocol = request_line.decode("latin-1").split(" ")
    path, _, query = target.partition("?")
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": unquote(path, "latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": protocol,
        "REMOTE_ADDR": "",
    }
    for name, value in parse_headers(io.BytesIO(fields)).items():
        environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
    answer = io.BytesIO()
    handler = SimpleHandler(io.BytesIO(), answer, io.StringIO(), environ)
    handler.os_environ = {}
    handler.run(app)
    return answer.getvalue()
