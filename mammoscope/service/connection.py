"""The client's connection: whether it is still open, and how to stop reading from it."""

import math
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from mammoscope.service.client_socket import ClientSocket

_SOCKET_KEY: Final = "gunicorn.socket"
"""Key of the connection in gunicorn's WSGI environment."""


class Connection:
    """Facts about the client's connection; unknown under servers that do not provide it.

    Parameters
    ----------
    environ
        The WSGI environment of the request.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ: Final = environ
        # Not if the server wraps it for TLS: it could neither be inspected nor half closed.
        found = environ.get(_SOCKET_KEY)
        self._socket: Final = found if isinstance(found, ClientSocket) else None

    @property
    def began(self) -> float:
        """Time of the request's first byte, in seconds of the monotonic clock; at most now."""
        return time.monotonic() if self._socket is None else self._socket.began

    @property
    def too_slow(self) -> bool:
        """Whether the server has stopped reading the body because it arrived too slowly."""
        return self._socket is not None and self._socket.too_slow

    def is_open(self) -> bool:
        """Whether the client has not closed its side; use it after reading the body.

        A client that only stops sending, and still listens, looks like one that has disconnected.
        """
        if self._socket is None:
            return True
        closed = select.poll()  # detects the end even behind unread bytes
        closed.register(self._socket, select.POLLRDHUP)
        return not closed.poll(0)

    def count_body(self, hold: Callable[[int], None]) -> None:
        """Call `hold` with the number of bytes of the body as they are read from now on."""
        if "wsgi.input" in self._environ:
            self._environ["wsgi.input"] = _CountedBody(self._environ["wsgi.input"], hold)

    @contextmanager
    def reading(self, deadline: float) -> Iterator[None]:
        """Let the server end the reading of the body at a time of the monotonic clock.

        An answer can still be sent.
        """
        if self._socket is None:
            yield
            return
        self._socket.read_by = deadline
        try:
            yield
        finally:
            self._socket.read_by = math.inf


class _CountedBody:
    """A body that reports its bytes before they are returned."""

    def __init__(self, body: Any, hold: Callable[[int], None]) -> None:
        self._body: Final = body
        self._hold: Final = hold

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._body.read(size)
        self._hold(len(data))
        return data

    def close(self) -> None:
        """Close the body, if possible: under the test client it may be a file."""
        self._body.close()
