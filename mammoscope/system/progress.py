"""Progress on stderr: bars for work on many images, and a clock for other long phases.

Nothing is shown without a terminal, and nothing remains at the end.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

_TICK_S: Final = 0.5
"""Seconds between two updates of the clock of a phase."""


def progress(items: Iterable[Item], total: int, title: str | None = None) -> "tqdm[Item]":
    """Yield items while a progress bar shows how many of `total` are done."""
    return tqdm(items, title, total, unit="image", disable=None, leave=False)


@contextmanager
def phase(title: str) -> Iterator[None]:
    """Show a title and the time that has passed during a phase of work."""
    over = threading.Event()
    with tqdm(desc=title, bar_format="{desc} ... {elapsed}", disable=None, leave=False) as shown:

        def tick() -> None:
            while not over.wait(_TICK_S):
                shown.refresh()

        clock = threading.Thread(target=tick, name="phase", daemon=True)
        if not shown.disable:
            clock.start()
        try:
            yield
        finally:
            over.set()
            if clock.ident is not None:
                clock.join()
