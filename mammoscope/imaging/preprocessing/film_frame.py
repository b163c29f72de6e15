"""The white frame that a scanner leaves around film which is smaller than its glass.

Unlike padding it is not flat, so that it would count as the image's brightest object.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from mammoscope.imaging.arrays import Grey

_BROADEST: Final = 0.08
"""Share of a side that the frame takes at most."""

_FRAME: Final = (0.1, 0.7)
"""Quantile of a frame's row, and the least that it is, of the image's brightest value."""

_FILM: Final = (0.25, 0.5)
"""Quantile of a row of film, and the most that it is: a fourth of it is no breast."""

_SIDES: Final = 2
"""Sides that have a frame before it is taken for one: a bright chest wall lies on one."""


def without_film_frame(pixels: Grey) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of an image without its frame; of all of it where it has none.

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
    # Along the chest wall, what follows the frame may be as bright.
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
    """How many rows there are before the first that is none of the frame."""
    return int(np.argmin(rows)) if not rows.all() else len(rows)
