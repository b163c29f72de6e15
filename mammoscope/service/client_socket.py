"""A client's socket that never blocks a thread while sending."""

import math
import socket
import time
from contextlib import suppress
from typing import Any, Final

BODY_GRACE_S: Final = 10.0
"""Seconds allowed for a body, in addition to those for its bytes at the minimum rate."""

LEAST_BYTES_PER_S: Final = 16 * 1024
"""Minimum rate of a body; images of detectors need more to arrive within a minute."""


class ClientSocket(socket.socket):
    """A socket that keeps unsent data, and measures how fast the client sends.

    One thread reads and sends; another asks `is_slow`, and may call `stop_reading`.

    Attributes
    ----------
    head
        Bytes received of a request's head.
    began
        Time of the first byte of the request, in seconds of the monotonic clock.
    read_by
        Time of the monotonic clock, in seconds, by which a body must have arrived.
    unsent
        Data that the client has not yet accepted; the owner of the socket sends it.
    too_slow
        Whether reading was stopped because the body arrived too slowly or too late.
    """

    def __init__(self, family: int, kind: int, fileno: int) -> None:
        super().__init__(family, kind, fileno=fileno)
        self.head = bytearray()
        self.began = time.monotonic()
        self.read_by = math.inf
        self.unsent = bytearray()
        self.too_slow = False
        self._received = 0
        self._reading_since = self.began
        self._is_reading = False

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send what the client accepts at once, and keep the rest in `unsent`."""
        view = memoryview(data).cast("B")
        if not self.unsent:
            with suppress(BlockingIOError):
                view = view[self.send(view, flags | socket.MSG_DONTWAIT) :]
        self.unsent += view

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive like any socket, and count the bytes."""
        self._is_reading = True
        try:
            data = super().recv(size, flags)
        finally:
            self._is_reading = False
        self._received += len(data)
        return data

    def begin_body(self) -> None:
        """Start measuring the rate."""
        self._received = 0
        self._reading_since = time.monotonic()

    def is_slow(self, now: float) -> bool:
        """Whether a thread waits for a body below the minimum rate, or after `read_by`."""
        allowed_s = BODY_GRACE_S + self._received / LEAST_BYTES_PER_S
        return self._is_reading and now >= min(self._reading_since + allowed_s, self.read_by)

    def stop_reading(self) -> None:
        """End the reading of a slow body; an answer can still be sent."""
        self.too_slow = True
        with suppress(OSError):  # closed by the client in the meantime
            self.shutdown(socket.SHUT_RD)
