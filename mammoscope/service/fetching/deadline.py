"""Deadline of a fetch."""

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from mammoscope.errors import FetchTimeoutError


class Deadline:
    """Time limit of a whole fetch, whatever the other server does.

    A socket's timeout restarts with each byte, so a server that sends one byte per second could
    occupy a thread for hours. Here, a timer shuts the socket down instead.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._watched: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        """Set the timer."""
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the timer and release the socket."""
        self._timer.cancel()
        self._replace(None)

    def remaining_s(self) -> float:
        """Seconds left, above 0; raises FetchTimeoutError if there are none."""
        remaining = self._end - time.monotonic()
        if remaining <= 0.0:
            raise FetchTimeoutError(
                f"Fetching the image took longer than the limit of {self._seconds:g} s."
            )
        return remaining

    def watch(self, connection: socket.socket) -> None:
        """Shut `connection` down at the deadline, even once TLS has wrapped it."""
        self._replace(connection.dup())
        self.remaining_s()

    def _replace(self, connection: socket.socket | None) -> None:
        with self._lock:
            if self._watched is not None:
                self._watched.close()
            self._watched = connection

    def _cut(self) -> None:
        with self._lock:
            if self._watched is not None:
                with suppress(OSError):  # already closed by the other side
                    self._watched.shutdown(socket.SHUT_RDWR)
