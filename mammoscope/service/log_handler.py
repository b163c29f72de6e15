"""A log handler that never blocks the service."""

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
"""Maximum number of lines that wait to be written; about half a megabyte."""

_STDERR: Final = 2
_LAST_S: Final = 1.0
"""Seconds for writing the waiting lines when the process ends."""

_handlers: "weakref.WeakSet[BoundedHandler]" = weakref.WeakSet()


def dropped_lines() -> int:
    """Return the number of lines this process dropped because the log was not read fast enough."""
    return sum(handler.dropped for handler in _handlers)


class BoundedHandler(logging.Handler):
    """Writes to stderr in a separate thread, and drops lines if the reader is too slow.

    Writing to a pipe that nobody reads blocks forever; threads that log must not block.

    Attributes
    ----------
    dropped
        Number of dropped lines.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dropped = 0
        self._begin_anew()
        os.register_at_fork(after_in_child=self._begin_anew)
        _handlers.add(self)

    def _begin_anew(self) -> None:
        # A fork has no writer thread, and its parent writes the waiting lines.
        self._lines: queue.Queue[str] = queue.Queue(_MOST_LINES)
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line for writing; only one thread does so at a time."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, daemon=True, name="log")
            self._thread.start()
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self.dropped += 1

    def flush(self) -> None:
        """Wait until the queued lines are written, but not for long."""
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
            with suppress(OSError):  # stderr is closed, so the error cannot be reported
                while rest:
                    rest = rest[os.write(_STDERR, rest) :]
            self._lines.task_done()


def _dropped_line(count: int) -> str:
    now = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
    event = {"count": count, "event": "log_lines_dropped", "level": "warning", "timestamp": now}
    return json.dumps(event)
