"""Find the frame around scanned film that is smaller than the scanner's glass.

On film with a dark background, the frame is bright. Unlike padding, it is noisy and uneven, so it
would count as the image's brightest object and join the breast.
"""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mammoscope.errors import NoBreastError
from mammoscope.imaging.arrays import Grey, Mask
from mammoscope.imaging.preprocessing.background import background_is_bright, stretch_contrast

# The shares below were measured on the 2,987 images of the Kaggle set and 819 films of DDSM.

_BROADEST: Final = 0.08
"""Maximum width of the frame, as a share of the image's side."""

_BRIGHT: Final = 0.45
"""Minimum grey value of a frame, as a share of the image's brightest value. The film next to it
must be darker than the same share of the frame."""

_LONGEST: Final = 0.5
"""Minimum share of a side along which the image has a frame that ends abruptly, on one side at
least. Skin, implants and markers reach less; 34 images of the set have a frame."""

_OTHERS: Final = 0.2
"""The same for the other sides of such an image: tissue hides the frame's end."""

_SKEW: Final = 0.95
"""Quantile of a frame's width that is removed: its edge may be oblique."""

_COVERED: Final = 0.1
"""Quantile for a side of the film along which tissue is as bright as the frame."""

_GRAIN: Final = 9
"""Length in pixels of the averages along a side that even out the frame's noise."""

_BLEND = (3, 200)
"""Pixels in which a frame becomes film: at least three, and one per 200 of the side."""

_VIEW: Final = 256
"""Side of the small copy that tells whether the background is bright."""


def without_film_frame(pixels: Grey) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of an image without its frame, if it has one.

    Parameters
    ----------
    pixels
        float32 (H, W) in [0, 1], without padding.
    """
    height, width = pixels.shape
    try:
        upright = _upright(pixels)
    except NoBreastError:
        return 0, height, 0, width
    sides = (upright, upright[::-1], upright.T, upright.T[::-1])
    brightest = float(upright.max())
    edges = [_edge(side, brightest) for side in sides]
    shares = [float(ends.mean()) for _, ends in edges]
    if max(shares) < _LONGEST:
        return 0, height, 0, width
    broad = [
        int(np.quantile(depths[ends], _SKEW)) + 1 if share >= _OTHERS else None
        for (depths, ends), share in zip(edges, shares, strict=True)
    ]
    deepest = max(depth for depth in broad if depth is not None)
    top, bottom, left, right = (
        min(int(np.quantile(depths, _COVERED)), deepest) if depth is None else depth
        for (depths, _), depth in zip(edges, broad, strict=True)
    )
    return top, height - bottom, left, width - right


def _upright(pixels: Grey) -> Grey:
    """Image with a dark background, whatever its frame is like."""
    down, across = (int(_BROADEST * side) for side in pixels.shape)
    inner = pixels[down : len(pixels) - down, across : pixels.shape[1] - across]
    view = cv2.resize(inner, (_VIEW, _VIEW), interpolation=cv2.INTER_AREA)
    return 1.0 - pixels if background_is_bright(stretch_contrast(view)) else pixels


def _edge(side: Grey, brightest: float) -> tuple[npt.NDArray[np.intp], Mask]:
    """Bright pixels from each pixel of the first row, and whether a frame ends after them."""
    most, blend = int(_BROADEST * len(side)), max(_BLEND[0], len(side) // _BLEND[1])
    # A frame covers the first row, which most sides without a frame show at once.
    if most == 0 or (_smooth(side[:1]) >= _BRIGHT * brightest).mean() < _OTHERS:
        return np.zeros(side.shape[1], np.intp), np.zeros(side.shape[1], np.bool_)
    strip = _smooth(side[: most + blend])
    film = np.vstack([strip[:most] < _BRIGHT * brightest, np.ones_like(strip[:1], np.bool_)])
    depths = np.argmax(film, axis=0)
    beyond = np.minimum(depths[None] + np.arange(1, blend + 1)[:, None], len(strip) - 1)
    before = np.maximum(depths - blend, 0)[None]
    inside, frame = (np.take_along_axis(strip, rows, axis=0) for rows in (beyond, before))
    ends = (depths > 0) & (depths < most) & (inside.min(axis=0) < _BRIGHT * frame[0])
    return depths, ends


def _smooth(rows: Grey) -> Grey:
    return np.asarray(cv2.blur(np.ascontiguousarray(rows), (_GRAIN, 1)), np.float32)
