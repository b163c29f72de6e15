"""Handle Ctrl-C where Python cannot be interrupted at any point: imports and native code."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
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
    if not _raises_on_ctrl_c():
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def delaying_ctrl_c() -> Iterator[Callable[[], None]]:
    """Raise KeyboardInterrupt after Ctrl-C at the end of the block, or when the result is called.

    Python would raise it amid a call of native code; TensorFlow then fails with a SystemError. A
    second Ctrl-C raises at once. This has no effect outside the main thread, or if Ctrl-C is
    ignored or already delayed.
    """
    pressed = False

    def delay(*_: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def raise_if_pressed() -> None:
        if pressed:
            raise KeyboardInterrupt

    if not _raises_on_ctrl_c():
        yield raise_if_pressed
        return
    signal.signal(signal.SIGINT, delay)
    try:
        yield raise_if_pressed
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    raise_if_pressed()


def _raises_on_ctrl_c() -> bool:
    return (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
