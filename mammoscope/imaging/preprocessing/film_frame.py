"""Remove the white frame of scanned film that is smaller than the scanner's glass.

Unlike padding, the frame is not flat, so it would count as the image's brightest object.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from mammoscope.imaging.arrays import Grey

_BROADEST: Final = 0.08
"""Maximum width of the frame, as a share of the image's side."""

_FRAME: Final = (0.1, 0.7)
"""A row is frame if this quantile of it is at least this share of the image's brightest value."""

_FILM: Final = (0.25, 0.5)
"""A row is film if this quantile of it is below this share: a quarter of it is background."""

_SIDES: Final = 2
"""Minimum number of sides with a frame: a bright chest wall covers one side only."""


def without_film_frame(pixels: Grey) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of an image without its frame, if it has one.

    Parameters
    ----------
    pixels
        float32 (H, W) in [0, 1].
    """
    height, width = pixels.shape
    brightest = float(pixels.max())
    sides = (pixels, pixels[::-1], pixels.T, pixels.T[::-1])
    bright = [_is_frame(side[:1], brightest) for side in sides]
    if sum(bool(each.all()) for each in bright) < _SIDES:
        return 0, height, 0, width
    broadest = [int(_BROADEST * len(side)) for side in sides]
    depths = [
        _run(_is_frame(side[:most], brightest)) for side, most in zip(sides, broadest, strict=True)
    ]
    ends = [
        0 < depth < most and _is_film(side[depth : depth + 2], brightest)
        for side, depth, most in zip(sides, depths, broadest, strict=True)
    ]
    if sum(ends) < _SIDES:
        return 0, height, 0, width
    # Along the chest wall, the film next to the frame may be equally bright.
    deepest = max(depth for depth, end in zip(depths, ends, strict=True) if end)
    top, bottom, left, right = (
        depth if end else min(depth, deepest) for depth, end in zip(depths, ends, strict=True)
    )
    return top, height - bottom, left, width - right


def _is_frame(rows: Grey, brightest: float) -> npt.NDArray[np.bool_]:
    quantile, least = _FRAME
    return np.asarray(np.quantile(rows, quantile, axis=1) >= least * brightest)


def _is_film(rows: Grey, brightest: float) -> bool:
    quantile, most = _FILM
    return bool((np.quantile(rows, quantile, axis=1) < most * brightest).any())


def _run(rows: npt.NDArray[np.bool_]) -> int:
    """Number of rows before the first that is not frame."""
    return int(np.argmin(rows)) if not rows.all() else len(rows)
