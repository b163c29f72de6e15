"""Progress on stderr: bars for work on many images, and titles for other long phases.

Nothing is shown without a terminal, and nothing remains at the end.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item], total: int, title: str | None = None) -> "tqdm[Item]":
    """Yield items while a progress bar shows how many of `total` are done."""
    return tqdm(items, title, total, unit="image", disable=None, leave=False)


@contextmanager
def phase(title: str) -> Iterator[None]:
    """Show a title during a phase of work."""
    with tqdm(desc=title, bar_format="{desc} ...", disable=None, leave=False):
        yield
