"""Additional listeners for short requests: probes, and Prometheus' scrapes.

Each has one thread and uses none of the service's, so clients of the service cannot block it. Its
own clients cannot either: a client that is too slow is disconnected, and with too many connections
the oldest one is closed.
"""

import asyncio
import io
import os
import socket
import threading
from http.client import HTTPException, parse_headers
from typing import Any, Final
from urllib.parse import unquote
from wsgiref.handlers import SimpleHandler
from wsgiref.types import WSGIApplication

import structlog

from mammoscope.system.listening import listen_on

_TIMEOUT_S: Final = 5.0
"""Maximum seconds from the connection to the last byte of the answer."""

_MOST_CONNECTIONS: Final = 32
_MAX_HEAD_BYTES: Final = 16 * 1024

_log = structlog.get_logger(__name__)


def listen(app: WSGIApplication, bind: str, name: str, setting: str) -> None:
    """Let `app` answer requests without a body at an address, in a separate thread.

    An address that cannot be used is logged and does not stop the service.

    Parameters
    ----------
    app
        An application that answers within milliseconds.
    bind
        ``host:port``; empty starts no listener.
    name
        Name of the listener, for the log.
    setting
        Name of the variable with the address, for the log.
    """
    if not bind:
        return
    try:
        listener = listen_on(bind)
    except OSError as err:
        reason = os.strerror(err.errno) if err.errno else "the address is not valid"
        advice = f"set {setting} to another HOST:PORT, or leave it empty for none"
        _log.error(f"{name}_not_served", address=bind, reason=reason, advice=advice)
        return
    served = _Listener(app).serve(listener)
    threading.Thread(target=asyncio.run, args=(served,), daemon=True, name=name).start()
    _log.info(f"{name}_served", address=bind)


class _Listener:
    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self._asking: dict[asyncio.Task[Any], None] = {}  # in order of connection

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
                await reader.read(1)  # closing earlier could lose the answer in transit
        except (
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            HTTPException,
            OSError,
            ValueError,
        ):
            pass  # TimeoutError is an OSError; invalid requests get no answer
        finally:
            self._asking.pop(task, None)
            writer.transport.abort()


def _answer_to(head: bytes, app: WSGIApplication) -> bytes:
    """Return the answer of `app`, in HTTP/1.0, to a head; raises ValueError if it is invalid."""
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
