"""A progress bar for work on many images."""

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item], total: int, title: str | None = None) -> "tqdm[Item]":
    """Yield items while a progress bar on stderr shows how many of `total` are done.

    The bar is shown in a terminal only and removed at the end.
    """
    return tqdm(items, title, total, unit="image", disable=None, leave=False)
