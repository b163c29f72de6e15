"""A pool of objects that threads share, first come, first served."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

_Item = TypeVar("_Item")

_POLL_S: Final = 0.05
"""Interval in seconds at which a waiting thread checks whether it should go on waiting."""


class FairPool(Generic[_Item]):
    """Objects that threads take and give back; thread-safe.

    Threads receive objects in the order in which they asked. With a `queue.SimpleQueue`, a thread
    that has just given back an object often takes it again, and others wait for seconds.
    """

    def __init__(self, items: Iterable[_Item]) -> None:
        self._lock = threading.Lock()
        self._idle = deque(items)
        self._waiting: deque[_Turn[_Item]] = deque()

    @property
    def contended(self) -> bool:
        """Whether threads are waiting."""
        return bool(self._waiting)

    def take(self, check: Callable[[], None] | None = None) -> _Item:
        """Take an object; waits for one if necessary.

        `check` is called repeatedly during the wait; an exception from it ends the wait.
        """
        turn: _Turn[_Item] = _Turn()
        with self._lock:
            if self._idle and not self._waiting:
                return self._idle.popleft()
            self._waiting.append(turn)
        try:
            while not turn.granted.wait(_POLL_S if check else None):
                if check:
                    check()
        except BaseException:
            with self._lock:
                granted = turn.granted.is_set()
                if not granted:
                    self._waiting.remove(turn)
            if granted:  # in the meantime
                self.give_back(turn.item)
            raise
        return turn.item

    def take_idle(self) -> _Item | None:
        """Take an object if one is idle and nobody waits, else return None."""
        with self._lock:
            return self._idle.popleft() if self._idle and not self._waiting else None

    def give_back(self, item: _Item) -> None:
        """Return an object, or a replacement of it; the longest waiting thread receives it."""
        with self._lock:
            if not self._waiting:
                self._idle.append(item)
                return
            turn = self._waiting.popleft()
            turn.item = item
            turn.granted.set()

    def drain(self) -> list[_Item]:
        """Remove and return the idle objects."""
        with self._lock:
            items = list(self._idle)
            self._idle.clear()
        return items


class _Turn(Generic[_Item]):
    """A thread's place in the queue."""

    item: _Item

    def __init__(self) -> None:
        self.granted = threading.Event()
