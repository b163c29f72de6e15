"""A bounded request queue: slots for requests, and a limit on how many run at once.

A request takes a slot before its body is read, and is refused at once if there is none. The threads
beyond the slots stay free for probes and refusals. After its body is read, the request waits, first
come, first served, until fewer than `concurrency` requests are reading and predicting images.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from werkzeug.exceptions import BadRequest

from mammoscope.errors import (
    ClientGoneError,
    DeadlineExceededError,
    RequestError,
    ServiceBusyError,
    UploadTimeoutError,
)
from mammoscope.service.connection import Connection

_POLL_S: Final = 0.1
"""Interval in seconds at which a waiting request checks that its client is still connected."""


class RequestQueue:
    """Concurrency limiter with a bounded queue.

    Parameters
    ----------
    concurrency
        Maximum number of requests that run at once, at least 1.
    queue_size
        Maximum number of requests that hold a slot in addition.
    max_bytes
        Maximum total size of bodies and fetched images of all requests with a slot, in bytes.
    timeout_s
        Seconds from a request's first byte by which its work must end.
    """

    def __init__(
        self, *, concurrency: int, queue_size: int, max_bytes: int, timeout_s: float
    ) -> None:
        self.slots: Final = concurrency + queue_size
        self._busy: Final = (
            f"The service handles {concurrency} requests at once and queues {queue_size}; all "
            "slots are taken. Try again later."
        )
        self._max_bytes: Final = max_bytes
        self._bytes_held = 0
        self._timeout_s: Final = timeout_s
        self._lock = threading.Lock()
        self._slots_left = self.slots
        self._free = concurrency
        self._waiting: deque[threading.Event] = deque()
        self._draining = False
        self._slots_moved = self._runs_moved = time.monotonic()

    @property
    def waiting(self) -> int:
        """Number of requests that wait to run."""
        return len(self._waiting)

    @property
    def slots_taken(self) -> int:
        """Number of requests that hold a slot: uploading, waiting or running."""
        return self.slots - self._slots_left

    def stuck_s(self) -> float:
        """Seconds for which no slot became free and no running request ended; else 0."""
        with self._lock:
            since = [
                *([self._slots_moved] if self._slots_left == 0 else []),
                *([self._runs_moved] if self._waiting else []),
            ]
        return time.monotonic() - min(since) if since else 0.0

    @property
    def draining(self) -> bool:
        """Whether the service is shutting down."""
        return self._draining

    def drain(self) -> None:
        """Mark the service as shutting down; requests are still answered."""
        self._draining = True  # no lock: called by a signal handler

    @contextmanager
    def slot(self, connection: Connection) -> Iterator["Slot"]:
        """Hold a slot; the bytes of the body are reserved as they arrive.

        Parameters
        ----------
        connection
            The client's.

        Raises
        ------
        ServiceBusyError
            If there is no free slot, or no memory; see `Slot.hold`.
        """
        slot = Slot(self, connection, connection.began + self._timeout_s)
        with self._lock:
            if self._slots_left == 0:
                raise ServiceBusyError(self._busy)
            self._hold(slot, 1 if self._bytes_held >= self._max_bytes else 0)
            self._slots_left -= 1
            self._slots_moved = time.monotonic()
        connection.count_body(slot.hold)
        try:
            yield slot
        finally:
            with self._lock:
                self._slots_left += 1
                self._bytes_held -= slot.bytes_held

    def hold(self, slot: "Slot", size: int) -> None:
        """Reserve `size` more bytes for a request; see `Slot.hold`."""
        with self._lock:
            self._hold(slot, size)

    def _hold(self, slot: "Slot", size: int) -> None:
        of_others = self._bytes_held - slot.bytes_held
        if of_others and self._bytes_held + size > self._max_bytes:
            raise ServiceBusyError(
                "The running and queued requests leave no memory for this one. Try again later."
            )
        self._bytes_held += size
        slot.bytes_held += size

    @contextmanager
    def running(self, slot: "Slot") -> Iterator[None]:
        """Wait until the request may run, and let it run; see `Slot.running`."""
        granted = threading.Event()
        with self._lock:
            if self._free > 0:
                self._start()
                granted.set()
            else:
                self._waiting.append(granted)
        try:
            slot.check()
            while not granted.wait(_POLL_S):
                slot.check()
            yield
            slot.check()
        finally:
            with self._lock:
                if granted.is_set():
                    self._free += 1
                    self._start_next()
                else:
                    self._waiting.remove(granted)

    def _start_next(self) -> None:
        if self._waiting:
            self._start()
            self._waiting.popleft().set()

    def _start(self) -> None:
        self._free -= 1
        self._runs_moved = time.monotonic()


class Slot:
    """The slot of one request.

    Parameters
    ----------
    queue
        The queue that the slot belongs to.
    connection
        The client's connection.
    deadline
        Time of the monotonic clock, in seconds, by which the request must finish.

    Attributes
    ----------
    bytes_held
        Bytes in memory that count for this request; only `RequestQueue` changes them.
    """

    def __init__(self, queue: RequestQueue, connection: Connection, deadline: float) -> None:
        self.bytes_held = 0
        self._queue = queue
        self._connection = connection
        self._deadline = deadline

    @contextmanager
    def uploading(self) -> Iterator[None]:
        """Read the body before the deadline.

        Raises
        ------
        UploadTimeoutError
            If the body is not complete by then.
        """
        try:
            with self._connection.reading(self._deadline):
                yield
        except (RequestError, BadRequest) as err:  # raised as if the body had ended early
            if self._connection.too_slow or time.monotonic() >= self._deadline:
                raise UploadTimeoutError("The body did not arrive in time.") from err
            raise

    def hold(self, size: int) -> None:
        """Reserve `size` more bytes of memory until the slot is released.

        Raises
        ------
        ServiceBusyError
            If the other requests leave too little memory. A request larger than the limit gets
            memory only while no other request holds any.
        """
        self._queue.hold(self, size)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Wait until the request may run, and let it run.

        Raises
        ------
        DeadlineExceededError
            If it cannot run before the deadline, or does not finish by then.
        ClientGoneError
            If the client disconnects first.
        """
        with self._queue.running(self):
            yield

    def check(self) -> None:
        """Raise like `running` if the answer would be late or the client has disconnected."""
        if time.monotonic() >= self._deadline:
            raise DeadlineExceededError("The service could not answer in time. Try again later.")
        if not self._connection.is_open():
            raise ClientGoneError("The client has closed the connection.")
