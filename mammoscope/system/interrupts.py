"""Handle Ctrl-C while a command imports its modules."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

EXIT_INTERRUPTED: Final = 130
"""Exit status after Ctrl-C: 128 plus the number of SIGINT."""


@contextmanager
def quitting_on_ctrl_c() -> Iterator[None]:
    """Exit at once on Ctrl-C, silently and with `EXIT_INTERRUPTED`.

    Python would raise KeyboardInterrupt during an import, which gives a traceback or, within a
    library's own import, a misleading error. This has no effect outside the main thread, or if
    Ctrl-C is ignored.
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
