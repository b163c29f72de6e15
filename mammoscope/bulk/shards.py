"""Cut a source into shards: runs of consecutive files, the unit of work, loss and resumption.

Where a shard ends depends on names of files only, as in content-defined chunking. A file that is
added or changed therefore changes its own shard, and no shard after it.
"""

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from mammoscope.bulk.sources import Entry

MOST_SECONDS: Final = 20.0
"""Work in a shard at most, in seconds of one actor: what a killed worker loses."""

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


def images_in(image_s: float) -> int:
    """Return how many images of `image_s` seconds each a shard has at most."""
    return max(1, min(_MOST_IMAGES, int(MOST_SECONDS / max(image_s, 1e-6))))


def cut(entries: Iterable[Entry], most: int) -> Iterator[Shard]:
    """Yield shards of at most `most` files, half as many on average if there are many files."""
    gathered: list[Entry] = []
    for entry in entries:
        gathered.append(entry)
        ends = zlib.crc32(entry.name.encode("utf-8", "surrogateescape")) % max(most // 2, 1) == 0
        if ends or len(gathered) == most:
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
