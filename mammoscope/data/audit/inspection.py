"""Read and decode each file of a data set once."""

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
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.reading import read_file

_PREPROCESSED_SIZE: Final = (96, 72)


@dataclass(frozen=True, slots=True)
class Inspection:
    """Facts about one file; None for facts unknown because the file was refused.

    ``digest`` is the SHA-256 of the file, ``fingerprint`` the `perceptual_hash`, uint64 (4,).
    """

    example: Example
    digest: str | None = None
    source: SourceFacts | None = None
    inverted: bool = False
    chest_wall: str | None = None
    fingerprint: Hashes | None = None
    refusal: str | None = None


def inspect_images(examples: Sequence[Example], on_image: Callable[[], object]) -> list[Inspection]:
    """Inspect every image, in order; `on_image` is called after each."""
    inspections = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        try:
            for inspection in pool.map(inspect_image, examples):
                inspections.append(inspection)
                on_image()
        except BaseException:  # Ctrl-C must not wait for the queued images
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return inspections


def inspect_image(example: Example) -> Inspection:
    """Read, decode and preprocess one image; a refusal is part of the result."""
    digest = source = None
    try:
        digest = _digest(example)
        mammogram = read_file(example.path)
        source = mammogram.source
        preprocessed = preprocess(mammogram, _PREPROCESSED_SIZE)
    except ImageError as err:
        return Inspection(example, digest, source, refusal=err.code)
    fingerprint = perceptual_hash(
        mammogram.pixels, inverted=preprocessed.inverted, mirrored=preprocessed.mirrored
    )
    return Inspection(
        example, digest, source, preprocessed.inverted, preprocessed.chest_wall, fingerprint
    )


def _digest(example: Example) -> str:
    if not example.path.is_file():  # reading a pipe or a device would block forever
        raise UnreadableFileError("This has an image's name but is not a regular file.")
    try:
        with example.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as err:
        raise UnreadableFileError("The file cannot be read.") from err
