"""Mammograms combined, rotated and shrunk in ways that the quality gate must detect."""

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np

from mammoscope.imaging.arrays import Grey
from mammoscope.imaging.mammogram import Mammogram, SourceFacts
from mammoscope.imaging.preprocessing import Preprocessed

THUMBNAIL: Final = 128
"""Side of a thumbnail in pixels."""


def upright(mammogram: Mammogram, preprocessed: Preprocessed) -> Grey:
    """Return the image's pixels with dense tissue bright and the chest wall on the left."""
    pixels = 1.0 - mammogram.pixels if preprocessed.inverted else mammogram.pixels
    return pixels[:, ::-1] if preprocessed.mirrored else pixels


def arrange(one: Grey, other: Grey) -> Iterator[tuple[str, Mammogram]]:
    """Yield arrangements by name; those of a single image use the first.

    Parameters
    ----------
    one, other
        float32 (H, W) in [0, 1], as `upright` returns them.
    """
    height, width = one.shape
    other = _stretched(other, (height, width))
    both, stacked = np.hstack([one[:, ::-1], other]), np.vstack([one, other])
    arranged = {
        "both breasts side by side": both,
        "both breasts, stretched to a square": _stretched(both, one.shape),
        "two views stacked": stacked,
        "two views stacked, stretched to a square": _stretched(stacked, one.shape),
        "turned by 90 degrees": np.rot90(one),
        "turned by 270 degrees": np.rot90(one, 3),
        f"thumbnails of {THUMBNAIL} x {THUMBNAIL}": _stretched(one, (THUMBNAIL, THUMBNAIL)),
    }
    for name, pixels in arranged.items():
        yield name, _mammogram(pixels)


def _stretched(pixels: Grey, shape: tuple[int, ...]) -> Grey:
    return np.asarray(cv2.resize(pixels, (shape[1], shape[0]), interpolation=cv2.INTER_AREA))


def _mammogram(pixels: Grey) -> Mammogram:
    kept = np.ascontiguousarray(np.clip(pixels, 0.0, 1.0), np.float32)
    height, width = kept.shape
    return Mammogram(kept, SourceFacts("PNG", width, height, 8, "L"))
