"""Remove what hides the breast on scanned film: painted-over names, and the film's bright edges.

Blocks painted over in black are darker than the film's background, which then counts as the breast
or makes the image look inverted. Bright edges join the breast, which then seems as wide as the
film.
"""

from typing import Final

import cv2
import numpy as np

from mammoscope.imaging.arrays import Grey, Mask
from mammoscope.imaging.preprocessing.objects import objects

# The values below were chosen on 2,049 films of DDSM.

_BLACK: Final = 3.0 / 255.0
"""Grey values below this one are those of a painted block."""

_SMALLEST_BLOCK: Final = 5
"""Side in search pixels of the smallest painted block."""

_PAINTED: Final = (0.003, 0.35)
"""Share of an image with painted blocks that they cover. More black is the background itself."""

_PAINTED_ON_INVERSE: Final = 0.12
"""The same maximum for the inverse of an image, where an overexposed implant is black, too. It
covers 0.17 and 0.20 of two images of the Kaggle set; blocks cover up to 0.06 of films that must be
inverted."""

_BACKGROUND: Final = (10, 128)
"""Range of grey values, of 255, in which the film's background is searched."""

_SMOOTHING: Final = 5
"""Number of grey values averaged in the histogram."""

_BROADEST_EDGE: Final = 15
"""Side in search pixels of the opening that removes the film's edges."""


def without_painted_blocks(small: Grey, *, is_inverse: bool = False) -> Grey | None:
    """Fill painted blocks with the grey value of the film's background; None if there are none.

    Parameters
    ----------
    small
        float32 (S, S) in [0, 1]: the search copy, dense tissue bright.
    is_inverse
        Whether dense tissue is bright only if the background was misjudged.
    """
    black = (small < _BLACK).astype(np.uint8)
    kernel = np.ones((_SMALLEST_BLOCK, _SMALLEST_BLOCK), np.uint8)
    painted = float(cv2.morphologyEx(black, cv2.MORPH_OPEN, kernel).mean())
    if not _PAINTED[0] < painted < (_PAINTED_ON_INVERSE if is_inverse else _PAINTED[1]):
        return None
    eight_bit = np.asarray(np.clip(small * 255.0, 0, 255), np.uint8)
    counts = np.bincount(eight_bit.ravel(), minlength=256)
    smooth = np.convolve(counts, np.ones(_SMOOTHING), "same")
    low, high = _BACKGROUND
    level = low + int(smooth[low:high].argmax())
    return np.maximum(small, np.float32(level / 255.0))


def without_film_edges(breast: Mask) -> Mask | None:
    """Remove the strips along the image's edges that are too thin for a breast.

    Parameters
    ----------
    breast
        bool (S, S): the object found on the search copy.

    Returns
    -------
    Mask or None
        bool (S, S): its largest part without strips; None if nothing is left.
    """
    mask = breast.astype(np.uint8)
    side = (_BROADEST_EDGE, _BROADEST_EDGE)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, side)
    # Outside the image counts as empty: a strip is thin also where it touches the image's edge.
    thick = cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    labels, areas = objects(np.asarray(cv2.dilate(thick, kernel), np.uint8), connectivity=4)
    if areas.size == 0:
        return None
    largest = labels == 1 + int(np.argmax(areas))
    return (cv2.dilate(largest.astype(np.uint8), kernel) > 0) & breast
