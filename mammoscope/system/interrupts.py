"""Ctrl-C while a command still imports what it needs."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

EXIT_INTERRUPTED: Final = 130
"""Exit status of a program that Ctrl-C ended: 128 and the number of SIGINT."""


@contextmanager
def quitting_on_ctrl_c() -> Iterator[None]:
    """End the process at once on Ctrl-C, with `EXIT_INTERRUPTED` and without a word.

    Python would raise KeyboardInterrupt in the middle of an import, which ends in a traceback or,
    within a library's own import, in an error that says something else. Nothing is done elsewhere
    than in the main thread, nor where Ctrl-C is ignored.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
