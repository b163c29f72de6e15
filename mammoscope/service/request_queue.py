"""A bounded number of requests at a time, each in its turn and while somebody waits for it.

A request takes a place before its body is read, and is refused at once where there is none: the
threads beyond the places stay free for probes and for refusals. With its body read it waits,
first come, first served, for one of the fewer turns in which images are read and judged.
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
"""How often one who waits looks whether the client is still there."""


class Admission:
    """Places and turns.

    Parameters
    ----------
    turns
        Requests that work at a time, at least 1.
    queue_size
        Requests that have a place beside those.
    max_bytes
        Of the bodies, and of the images that are fetched, of all who have a place.
    timeout_s
        Seconds from a request's first byte within which its work must have ended.
    """

    def __init__(self, *, turns: int, queue_size: int, max_bytes: int, timeout_s: float) -> None:
        self.places: Final = turns + queue_size
        self._max_bytes: Final = max_bytes
        self._bytes_held = 0
        self._timeout_s: Final = timeout_s
        self._lock = threading.Lock()
        self._places_left = self.places
        self._turns_left = turns
        self._line: deque[threading.Event] = deque()
        self._draining = False

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return len(self._line)

    @property
    def admitted(self) -> int:
        """Requests that have a place, whether they upload, wait or work."""
        return self.places - self._places_left

    @property
    def draining(self) -> bool:
        """Whether the service is about to stop."""
        return self._draining

    def drain(self) -> None:
        """Say from now on that the service is about to stop; nobody is refused for that."""
        self._draining = True  # no lock: called by a signal handler

    @contextmanager
    def place(self, connection: Connection) -> Iterator["Visit"]:
        """Hold a place; the bytes of the body are held as they arrive.

        Parameters
        ----------
        connection
            The client's.

        Raises
        ------
        ServiceBusyError
            If none is left, or no memory; see `hold`.
        """
        visit = Visit(self, connection, connection.began + self._timeout_s)
        with self._lock:
            if self._places_left == 0:
                raise ServiceBusyError(
                    f"{self.places} requests are at work or waiting, as many as may be."
                )
            self._hold(visit, 1 if self._bytes_held >= self._max_bytes else 0)
            self._places_left -= 1
        connection.count_body(visit.hold)
        try:
            yield visit
        finally:
            with self._lock:
                self._places_left += 1
                self._bytes_held -= visit.bytes_held

    def hold(self, visit: "Visit", size: int) -> None:
        """Let a request have `size` bytes more; see `Visit.hold`."""
        with self._lock:
            self._hold(visit, size)

    def _hold(self, visit: "Visit", size: int) -> None:
        of_others = self._bytes_held - visit.bytes_held
        if of_others and self._bytes_held + size > self._max_bytes:
            raise ServiceBusyError("Requests at work or waiting leave no memory for this one.")
        self._bytes_held += size
        visit.bytes_held += size

    @contextmanager
    def turn(self, visit: "Visit") -> Iterator[None]:
        """Wait for a turn and hold it; see `Visit.turn`."""
        granted = threading.Event()
        with self._lock:
            if self._turns_left > 0:
                self._turns_left -= 1
                granted.set()
            else:
                self._line.append(granted)
        try:
            visit.check()
            while not granted.wait(_POLL_S):
                visit.check()
            yield
            visit.check()
        finally:
            with self._lock:
                if not granted.is_set():
                    self._line.remove(granted)
                elif self._line:
                    self._line.popleft().set()
                else:
                    self._turns_left += 1


class Visit:
    """One request that has a place.

    Parameters
    ----------
    admission
        Where it has its place.
    connection
        The client's.
    deadline
        On the monotonic clock, in seconds.

    Attributes
    ----------
    bytes_held
        Bytes in memory that it has on its account; `Admission` alone changes them.
    """

    def __init__(self, admission: Admission, connection: Connection, deadline: float) -> None:
        self.bytes_held = 0
        self._admission = admission
        self._connection = connection
        self._deadline = deadline

    @contextmanager
    def uploading(self) -> Iterator[None]:
        """Read the body, no longer than until the deadline.

        Raises
        ------
        UploadTimeoutError
            If it had not come by then.
        """
        try:
            with self._connection.reading(self._deadline - time.monotonic()):
                yield
        except (RequestError, BadRequest) as err:  # as the body ended before its end
            if self._connection.too_slow or time.monotonic() >= self._deadline:
                raise UploadTimeoutError("The body did not arrive in time.") from err
            raise

    def hold(self, size: int) -> None:
        """Have `size` bytes more in memory until the place is given back.

        Raises
        ------
        ServiceBusyError
            If what the others hold leaves no room for them. One that is larger than all may be
            together has room where nobody else holds any.
        """
        self._admission.hold(self, size)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn to work and hold it.

        Raises
        ------
        DeadlineExceededError
            If none comes before the deadline, or the work ends after it.
        ClientGoneError
            If the client leaves before.
        """
        with self._admission.turn(self):
            yield

    def check(self) -> None:
        """Refuse to go on where that is of no use any more; raises like `turn`."""
        if time.monotonic() >= self._deadline:
            raise DeadlineExceededError("The service could not answer in time.")
        if not self._connection.is_open():
            raise ClientGoneError("The client has closed the connection.")
