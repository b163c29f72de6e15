"""Stretch images that use only a small part of the range of grey values.

Later steps compare grey values with constants of the full range [0, 1]. In images that store 12
bits in 16, or whose marker is many times brighter than the breast, the breast uses little of it.
"""

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mammoscope.imaging.arrays import Grey

LEAST_OCCUPIED: Final = 0.5
"""Share of the full range from which an image is left unchanged. Of 1,238 images of the Kaggle set,
all of 8 bits, the smallest share is 0.63."""

_MARKER_SHARE: Final = 0.015
"""Maximum share of the image covered by burned-in markers."""

_MARKED: Final = (0.025, 0.25)
"""Limits for the brightest pixels outside markers, as a share of the occupied range. Between them,
markers outshine the breast. The lowest share in the same images is 0.37. Below the first limit
there is only noise, and the brightest pixels are a small breast."""

_HEADROOM: Final = 3.0
"""Kept range as a multiple of the range without markers: the brightest tissue is small too."""

_SAMPLE_SIDE: Final = 512
"""Rows and columns sampled to find markers; at most about twice as many."""


def on_occupied_range(pixels: Grey) -> Grey:
    """Stretch an image that occupies less than half of the full range.

    Markers that outshine everything else are cut off first, so that they do not count as part of
    the occupied range.

    Parameters
    ----------
    pixels
        float32 (H, W) in [0, 1]; returned unchanged if they occupy enough.
    """
    low, high = _without_markers(pixels)
    if high - low >= LEAST_OCCUPIED or high <= low:
        return pixels
    return np.asarray(np.clip((pixels - low) / (high - low), 0.0, 1.0), np.float32)


def widened(samples: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Losslessly multiply 16-bit samples that occupy less than half of their range.

    Otherwise, averaging such samples would round them to few values.

    Parameters
    ----------
    samples
        uint16 (H, W); returned unchanged if they occupy half of the range.
    """
    low, high = int(samples.min()), int(samples.max())
    factor = 65_535 // max(high - low, 1)
    if factor < 2 or high == low:
        return samples
    return np.asarray((samples - np.uint16(low)) * np.uint16(factor), np.uint16)


def _without_markers(pixels: npt.NDArray[Any]) -> tuple[float, float]:
    """Lowest and highest grey value, ignoring markers far above (or, inverted, below) the rest."""
    low, high = float(pixels.min()), float(pixels.max())
    rows, columns = (max(1, side // _SAMPLE_SIDE) for side in pixels.shape)
    sample, span = pixels[::rows, ::columns], high - low
    # Counting takes less time than sorting, and tells for nearly all images that no markers
    # outshine the rest.
    inner = _MARKED[1] * span
    most = math.ceil(_MARKER_SHARE * sample.size) + 2
    if most < min(map(np.count_nonzero, (sample > low + inner, sample < high - inner))):
        return low, high
    dark, bright = (
        float(value) for value in np.quantile(sample, (_MARKER_SHARE, 1.0 - _MARKER_SHARE))
    )
    if _MARKED[0] * span < bright - low < _MARKED[1] * span:
        return low, low + _HEADROOM * (bright - low)
    if _MARKED[0] * span < high - dark < _MARKED[1] * span:
        return high - _HEADROOM * (high - dark), high
    return low, high
