"""Cut a source into shards: runs of consecutive files, the unit of work, loss and resumption.

Where a shard ends depends on names of files only, as in content-defined chunking. A file that is
added or changed therefore changes its own shard, and no shard after it.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from mammoscope.bulk.sources import Entry

MOST_SECONDS: Final = 20.0
"""Work in a shard at most, in seconds of one actor: what a killed worker loses."""

FIRST_IMAGES: Final = 6
"""Images in the first shard, whose time decides the size of the others."""

_MOST_IMAGES: Final = 5000
"""Images in a shard at most, however fast the engine is."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive files of a source.

    Parameters
    ----------
    part
        Name of its part: a hash of names, sizes and states of its files.
    entries
        The files, at least one.
    """

    part: str
    entries: tuple[Entry, ...]


def images_in(image_s: float, shard_s: float = MOST_SECONDS) -> int:
    """Return how many images of `image_s` seconds each a shard of `shard_s` seconds has at most."""
    return max(1, min(_MOST_IMAGES, int(shard_s / max(image_s, 1e-6))))


def most_shards(images: int) -> int:
    """Return how many shards `cut` makes of `images` files at most."""
    return 1 + max(0, images - FIRST_IMAGES)


def cut(entries: Iterable[Entry], most: Callable[[], int]) -> Iterator[Shard]:
    """Yield the first `FIRST_IMAGES` files as a shard, then shards of at most `most` files.

    These have half as many on average if there are many files. `most` is asked once, when a file
    comes after the first shard.
    """
    remaining = iter(entries)
    if first := list(islice(remaining, FIRST_IMAGES)):
        yield _shard(first)
    gathered: list[Entry] = []
    limit = 0
    for entry in remaining:
        limit = limit or most()
        gathered.append(entry)
        ends = zlib.crc32(entry.name.encode("utf-8", "surrogateescape")) % max(limit // 2, 1) == 0
        if ends or len(gathered) == limit:
            yield _shard(gathered)
            gathered = []
    if gathered:
        yield _shard(gathered)


def _shard(entries: list[Entry]) -> Shard:
    digest = hashlib.sha256()
    for entry in entries:
        facts = (entry.name, str(entry.size), entry.state, *map(str, _placed(entry)))
        digest.update("\0".join((*facts, "")).encode("utf-8", "surrogateescape"))
    return Shard(f"part-{digest.hexdigest()[:16]}.parquet", tuple(entries))


def _placed(entry: Entry) -> tuple[str | None, ...]:
    return entry.placement.patient, entry.placement.laterality, entry.placement.view
