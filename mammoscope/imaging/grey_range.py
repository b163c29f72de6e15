"""The range of grey values that an image occupies, whatever its samples could hold.

Later steps compare grey values with constants of the full range [0, 1]. Images that keep 12 bits
in 16, or a marker that is many times as bright as the breast, leave the breast a small part of it.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mammoscope.imaging.arrays import Grey

LEAST_OCCUPIED: Final = 0.5
"""Share of the full range from which an image is left as it is. Of 1,238 images of the Kaggle set,
each of 8 bits, the least occupies 0.63."""

_MARKER_SHARE: Final = 0.015
"""Share of the image that burned-in markers cover at most."""

_MARKED: Final = (0.025, 0.25)
"""Where the brightest pixels but for those of markers lie within the occupied range, in an image
whose markers outshine the breast. Of the same images, the lowest lies at 0.37; below the first
number there is nothing but noise, and the brightest pixels are a small breast."""

_HEADROOM: Final = 3.0
"""Range that is kept over that of all but the markers: the brightest tissue covers little too."""

_SAMPLE_SIDE: Final = 512
"""Rows and columns that are looked at for markers, at most about twice as many."""


def on_occupied_range(pixels: Grey) -> Grey:
    """Stretch an image that occupies less than half of the full range to all of it.

    Markers that outshine everything else are cut off at what the rest occupies first, so that
    they count as part of the range only where it is theirs.

    Parameters
    ----------
    pixels
        float32 (H, W) in [0, 1]; returned as they are where they occupy enough.
    """
    low, high = _without_markers(pixels)
    if high - low >= LEAST_OCCUPIED or high <= low:
        return pixels
    return np.asarray(np.clip((pixels - low) / (high - low), 0.0, 1.0), np.float32)


def widened(samples: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Multiply 16-bit samples that occupy less than half of their range, without loss.

    Means of such samples would otherwise be rounded to few values.

    Parameters
    ----------
    samples
        uint16 (H, W); returned as they are where they occupy half of the range.
    """
    low, high = int(samples.min()), int(samples.max())
    factor = 65_535 // max(high - low, 1)
    if factor < 2 or high == low:
        return samples
    return np.asarray((samples - np.uint16(low)) * np.uint16(factor), np.uint16)


def _without_markers(pixels: npt.NDArray[Any]) -> tuple[float, float]:
    """Lowest and highest grey value, without markers far above (or, inverted, below) the rest."""
    low, high = float(pixels.min()), float(pixels.max())
    rows, columns = (max(1, side // _SAMPLE_SIDE) for side in pixels.shape)
    dark, bright = (
        float(value)
        for value in np.quantile(pixels[::rows, ::columns], (_MARKER_SHARE, 1.0 - _MARKER_SHARE))
    )
    span = high - low
    if _MARKED[0] * span < bright - low < _MARKED[1] * span:
        return low, low + _HEADROOM * (bright - low)
    if _MARKED[0] * span < high - dark < _MARKED[1] * span:
        return high - _HEADROOM * (high - dark), high
    return low, high
