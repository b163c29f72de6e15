"""Grey values of a breast as network inputs: as ranks, in a linear window, as local contrast.

Each function takes the breast stretched to the box, float32 (H, W) with the chest wall on the left,
and the mask of the breast, bool (H, W). Each returns uint8 (H, W), 1 to 255 in the breast and 0
outside.
"""

from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mammoscope.errors import NoBreastError
from mammoscope.imaging.arrays import Grey, Mask
from mammoscope.imaging.preprocessing.background import SMALLEST_CONTRAST
from mammoscope.imaging.quantiles import quantiles

_ENDS: Final = (0.01, 0.995)
"""Quantiles of the grey values inside the breast; values beyond them are clipped."""

_RANK_BINS: Final = 1024
"""Number of grey levels before ranking: more than the 255 ranks, but coarser than noise."""

_SKIN: Final = 0.05
"""Diameter, as a share of the height, by which the breast is eroded before the window's quantiles
are computed, because the brightness of the skin line depends on the scanner."""

_MUSCLE: Final = (0.5, 0.6)
"""Height and width, as shares of the box, of the corner at chest wall and top that is excluded from
the window's quantiles. It contains the pectoral muscle of most oblique views, by eye."""

_NEIGHBOURHOOD: Final = 0.04
"""Standard deviation, as a share of the height, of the neighbourhood for local contrast."""

_NEIGHBOURHOOD_REDUCTION: Final = 2
"""Factor by which an image is reduced to compute its neighbourhoods: their mean and standard
deviation are smooth, and this takes less time."""

_STEEPEST: Final = 3.0
"""Local standard deviations at which the contrast is clipped."""


def ranks(stretched: Grey, inside: Mask) -> npt.NDArray[np.uint8]:
    """Replace each grey value by its rank inside the breast.

    Ranks are invariant under monotone curves of grey values, such as a scanner's processing or a
    display window. This hides much of the scanner's identity from the network.

    Raises
    ------
    NoBreastError
        If the breast has no structure.
    """
    values = stretched[inside]
    low, high = quantiles(values, _ENDS).tolist()
    if high - low < SMALLEST_CONTRAST / 10:
        raise NoBreastError("The brightest object in the image has no structure.")
    bins = np.clip((values - low) * (_RANK_BINS / (high - low)), 0, _RANK_BINS - 1)
    bins = bins.astype(np.int32)
    counts = np.bincount(bins, minlength=_RANK_BINS)
    shares = (np.cumsum(counts) - 0.5 * counts) / values.size
    levels = np.rint(1.0 + 254.0 * shares).astype(np.uint8)
    ranked = np.zeros(inside.shape, np.uint8)
    ranked[inside] = levels[bins]
    return ranked


def window(stretched: Grey, inside: Mask) -> npt.NDArray[np.uint8]:
    """Scale the grey values of the tissue between skin and muscle linearly.

    Ranks spread the many similar values of a fatty breast, including noise, over the whole range,
    and give the pectoral muscle the highest values. A window keeps bright spots as bright as they
    are.
    """
    height, width = inside.shape
    side = max(3, round(_SKIN * height))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    # The breast continues beyond the edges of the box.
    core = np.asarray(cv2.erode(inside.astype(np.uint8), kernel, borderValue=(1.0,)), np.bool_)
    tissue = core & _outside_muscle(height, width)
    low, high = quantiles(stretched[tissue if tissue.any() else inside], _ENDS)
    share = np.clip((stretched - low) / max(float(high - low), np.finfo(np.float32).tiny), 0.0, 1.0)
    return np.asarray(np.rint(1.0 + 254.0 * share).astype(np.uint8) * inside)


@lru_cache(maxsize=4)
def _outside_muscle(height: int, width: int) -> Mask:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.asarray(rows / (_MUSCLE[0] * height) + columns / (_MUSCLE[1] * width) > 1.0)


def contrast(stretched: Grey, inside: Mask) -> npt.NDArray[np.uint8]:
    """Return the difference from the neighbourhood's mean, in its standard deviations.

    This shows edges and spots at any brightness; 128 is the neighbourhood's mean. The standard
    deviation is at least half the typical one, so that noise does not become contrast.
    """
    height, width = inside.shape
    sigma = _NEIGHBOURHOOD * height / _NEIGHBOURHOOD_REDUCTION
    fewer = tuple(-(-side // _NEIGHBOURHOOD_REDUCTION) for side in (width, height))
    part = inside.astype(np.float32)
    least = float(np.finfo(np.float32).eps)

    def around(values: npt.NDArray[np.floating[Any]]) -> Grey:
        small = cv2.resize(values, fewer, interpolation=cv2.INTER_AREA)
        smooth = cv2.GaussianBlur(small, (0, 0), sigma)
        resized = cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized, np.float32)

    share = np.maximum(around(part), least)
    mean = around(stretched * part) / share
    spread = np.sqrt(np.maximum(around((stretched - mean) ** 2 * part) / share, 0.0))
    (typical,) = quantiles(spread[inside], (0.5,)).tolist()
    deviations = (stretched - mean) / np.maximum(spread, max(typical / 2.0, least))
    levels = 128.0 + 127.0 * np.clip(deviations / _STEEPEST, -1.0, 1.0)
    return np.rint(levels).astype(np.uint8) * inside
