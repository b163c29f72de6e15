"""The socket of a client: what is sent to it never keeps a thread waiting."""

import socket
import time
from contextlib import suppress
from typing import Any, Final

BODY_GRACE_S: Final = 10.0
"""Seconds for a body, beside those that its bytes have at the least rate."""

LEAST_BYTES_PER_S: Final = 16 * 1024
"""Rate at which a body must arrive at least; images of detectors need more to come in a minute."""


class ClientSocket(socket.socket):
    """A socket that keeps what the client does not take yet, and knows how fast it sends.

    One thread reads and sends; another may look at the attributes and call `stop_reading`.

    Attributes
    ----------
    head
        What has arrived of a request's head.
    began
        When the first byte of the request arrived, in seconds of the monotonic clock.
    unsent
        What was to be sent and the client has not taken; whoever owns the socket sends it.
    too_slow
        Whether reading was stopped since the body came too slowly.
    """

    def __init__(self, family: int, kind: int, fileno: int) -> None:
        super().__init__(family, kind, fileno=fileno)
        self.head = bytearray()
        self.began = time.monotonic()
        self.unsent = bytearray()
        self.too_slow = False
        self._received = 0
        self._reading_since = self.began
        self._is_reading = False

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send what the client takes at once, and keep the rest in `unsent`."""
        view = memoryview(data).cast("B")
        if not self.unsent:
            with suppress(BlockingIOError):
                view = view[self.send(view, flags | socket.MSG_DONTWAIT) :]
        self.unsent += view

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive like any socket, and count what was received."""
        self._is_reading = True
        try:
            data = super().recv(size, flags)
        finally:
            self._is_reading = False
        self._received += len(data)
        return data

    def begin_body(self) -> None:
        """Measure the rate from now on."""
        self._received = 0
        self._reading_since = time.monotonic()

    def is_slow(self, now: float) -> bool:
        """Whether a thread waits for a body that has come at less than the least rate."""
        allowed_s = BODY_GRACE_S + self._received / LEAST_BYTES_PER_S
        return self._is_reading and now >= self._reading_since + allowed_s

    def stop_reading(self) -> None:
        """Let whoever reads a slow body find its end; an answer can still be sent."""
        self.too_slow = True
        with suppress(OSError):  # closed by the client meanwhile
            self.shutdown(socket.SHUT_RD)
