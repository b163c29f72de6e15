"""Each file of a data set, read and decoded once."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from mammoscope.data.dataset import Example
from mammoscope.data.duplicates import Hashes, perceptual_hash
from mammoscope.errors import ImageError, UnreadableFileError
from mammoscope.imaging.mammogram import SourceFacts
from mammoscope.imaging.preprocessing import prepare
from mammoscope.imaging.reading import read_file

_PREPARED_SIZE: Final = (96, 72)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What one file turned out to be; None for whatever its refusal leaves unknown.

    ``digest`` is the SHA-256 of the file, ``fingerprint`` the `perceptual_hash`, uint64 (4,).
    """

    example: Example
    digest: str | None = None
    source: SourceFacts | None = None
    inverted: bool = False
    chest_wall: str | None = None
    fingerprint: Hashes | None = None
    refusal: str | None = None


def inspect_pictures(
    examples: Sequence[Example], on_picture: Callable[[], object]
) -> list[Inspection]:
    """Inspect every picture, in order; `on_picture` is called after each."""
    inspections = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        try:
            for inspection in pool.map(inspect_picture, examples):
                inspections.append(inspection)
                on_picture()
        except BaseException:  # Ctrl-C must not wait for the pictures still in the queue
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return inspections


def inspect_picture(example: Example) -> Inspection:
    """Read, decode and prepare one picture; whatever refuses it is part of the answer."""
    digest = source = None
    try:
        digest = _digest(example)
        mammogram = read_file(example.path)
        source = mammogram.source
        prepared = prepare(mammogram, _PREPARED_SIZE)
    except ImageError as err:
        return Inspection(example, digest, source, refusal=err.code)
    fingerprint = perceptual_hash(
        mammogram.pixels, inverted=prepared.inverted, mirrored=prepared.mirrored
    )
    return Inspection(example, digest, source, prepared.inverted, prepared.chest_wall, fingerprint)


def _digest(example: Example) -> str:
    if not example.path.is_file():  # reading a pipe or a device would never end
        raise UnreadableFileError("What bears a picture's name is not a file.")
    try:
        with example.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as err:
        raise UnreadableFileError("The file cannot be read.") from err
