"""The client's connection: whether it is still open, and how to stop reading from it."""

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

_BLOCK_BYTES: Final = 64 * 1024
_DISCARD_S: Final = 5.0
"""Seconds in which what is left of a body may still come."""

_SOCKET_KEY: Final = "gunicorn.socket"
"""Where gunicorn puts the connection into the WSGI environment."""


class Connection:
    """What is known of the client's connection; nothing under a server that does not hand it out.

    Parameters
    ----------
    environ
        The WSGI environment of the request.
    """

    def __init__(self, environ: Mapping[str, Any]) -> None:
        # One under TLS can neither be looked into nor half closed.
        found = environ.get(_SOCKET_KEY)
        plain = isinstance(found, socket.socket) and not isinstance(found, ssl.SSLSocket)
        self._socket: Final[socket.socket | None] = found if plain else None

    def is_open(self) -> bool:
        """Whether the client has not closed its side; to be asked once its body was read.

        A client that only stops sending, and still listens, cannot be told from one that is gone.
        """
        if self._socket is None:
            return True
        try:
            return self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:  # nothing to read, nothing closed
            return True
        except OSError:
            return False

    @contextmanager
    def reading(self, seconds: float) -> Iterator[None]:
        """Let whoever reads the body find its end after `seconds`; an answer can still be sent."""
        timer = threading.Timer(max(seconds, 0.0), self._stop_reading)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _stop_reading(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # closed by the client meanwhile
                self._socket.shutdown(socket.SHUT_RD)


def discard_body(environ: Mapping[str, Any], max_bytes: int) -> None:
    """Read what is left of a body, so that a client that is still sending hears the refusal.

    A connection that is closed with bytes unread is reset, and the answer is lost on the way.
    Nothing is read of bodies that announce more than `max_bytes`, nor where the server does not
    say where a body ends; and no more than those bytes, nor for long.
    """
    announced = environ.get("CONTENT_LENGTH") or ""
    is_small = announced.isdecimal() and 0 < int(announced) <= max_bytes
    if not environ.get("wsgi.input_terminated") or not (
        is_small or "HTTP_TRANSFER_ENCODING" in environ
    ):
        return
    with Connection(environ).reading(_DISCARD_S), suppress(OSError):
        left = max_bytes
        while left > 0 and (block := environ["wsgi.input"].read(min(left, _BLOCK_BYTES))):
            left -= len(block)
