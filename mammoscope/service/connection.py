"""The client's connection: whether it is still open, and how to stop reading from it."""

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

_SOCKET_KEY: Final = "gunicorn.socket"
"""Where gunicorn puts the connection into the WSGI environment."""


class Connection:
    """What is known of the client's connection; nothing under a server that does not hand it out.

    Parameters
    ----------
    environ
        The WSGI environment of the request.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ: Final = environ
        # One under TLS can neither be looked into nor half closed.
        found = environ.get(_SOCKET_KEY)
        plain = isinstance(found, socket.socket) and not isinstance(found, ssl.SSLSocket)
        self._socket: Final[socket.socket | None] = found if plain else None

    @property
    def began(self) -> float:
        """When the request's first byte arrived, in seconds of the monotonic clock; now at most."""
        return getattr(self._socket, "began", time.monotonic())

    @property
    def too_slow(self) -> bool:
        """Whether the server has stopped reading the body since it came too slowly."""
        return getattr(self._socket, "too_slow", False)

    def is_open(self) -> bool:
        """Whether the client has not closed its side; to be asked once its body was read.

        A client that only stops sending, and still listens, cannot be told from one that is gone.
        """
        if self._socket is None:
            return True
        closed = select.poll()  # also sees the end behind bytes that nobody has read
        closed.register(self._socket, select.POLLRDHUP)
        return not closed.poll(0)

    def count_body(self, hold: Callable[[int], None]) -> None:
        """Have `hold` called with the bytes of the body as they are read from now on."""
        if "wsgi.input" in self._environ:
            self._environ["wsgi.input"] = _CountedBody(self._environ["wsgi.input"], hold)

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


class _CountedBody:
    """A body whose bytes are told of before anybody has them."""

    def __init__(self, body: Any, hold: Callable[[int], None]) -> None:
        self._body: Final = body
        self._hold: Final = hold

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._body.read(size)
        self._hold(len(data))
        return data

    def close(self) -> None:
        """Close the body, where it can be: under the test client it may be a file."""
        self._body.close()
