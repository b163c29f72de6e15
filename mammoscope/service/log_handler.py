"""A log whose reader cannot stop the service."""

import datetime as dt
import json
import logging
import os
import queue
import threading
import weakref
from contextlib import suppress
from typing import Final

_MOST_LINES: Final = 2_000
"""Lines that wait for the reader of the log; about half a megabyte."""

_STDERR: Final = 2
_LAST_S: Final = 1.0
"""Seconds for what waits when the process ends."""

_handlers: "weakref.WeakSet[BoundedHandler]" = weakref.WeakSet()


def dropped_lines() -> int:
    """Return how many lines this process has dropped since nobody read the log fast enough."""
    return sum(handler.dropped for handler in _handlers)


class BoundedHandler(logging.Handler):
    """Writes to stderr in a thread of its own, and drops lines where that does not keep up.

    Writing to a pipe that nobody reads waits for ever; whoever logs must not.

    Attributes
    ----------
    dropped
        Lines that were dropped.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dropped = 0
        self._begin_anew()
        os.register_at_fork(after_in_child=self._begin_anew)
        _handlers.add(self)

    def _begin_anew(self) -> None:
        # A fork has no thread that writes, and what waits is written by the process it came from.
        self._lines: queue.Queue[str] = queue.Queue(_MOST_LINES)
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Have a line written; no two threads do at a time."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, daemon=True, name="log")
            self._thread.start()
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self.dropped += 1

    def flush(self) -> None:
        """Wait for what is being written, but not for long."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, _LAST_S)

    def _write(self) -> None:
        told = 0
        while True:
            line = self._lines.get()
            dropped = self.dropped
            if dropped > told:
                line += "\n" + _dropped_line(dropped - told)
                told = dropped
            rest = memoryview(f"{line}\n".encode(errors="replace"))
            with suppress(OSError):  # closed: there is nobody to tell
                while rest:
                    rest = rest[os.write(_STDERR, rest) :]
            self._lines.task_done()


def _dropped_line(count: int) -> str:
    now = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
    event = {"count": count, "event": "log_lines_dropped", "level": "warning", "timestamp": now}
    return json.dumps(event)
