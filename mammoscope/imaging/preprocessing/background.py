"""Tell whether an image has a dark background or a bright one."""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mammoscope.errors import NoBreastError
from mammoscope.imaging.arrays import Grey

SMALLEST_CONTRAST: Final = 0.02
"""Minimum contrast of breast and background, as a share of the image's full range."""

_EXTREME_RANGE: Final = 0.12
"""Distance from the image's darkest or brightest grey value within which values are extreme."""

_EXTREME_SHARE: Final = 0.15
"""Minimum share of extreme values along the edges of a digital image."""

_EDGE: Final = 10
"""Width of the edges in search pixels."""


def stretch_contrast(search_copy: npt.ArrayLike) -> Grey:
    """Stretch the search copy to the full range of grey values.

    Raises
    ------
    NoBreastError
        If it has a single grey value.
    """
    small = np.asarray(search_copy, dtype=np.float32)
    low, high = float(small.min()), float(small.max())
    if high - low < SMALLEST_CONTRAST / 4:
        raise NoBreastError("The image is blank.")
    return np.asarray((small - low) / (high - low), dtype=np.float32)


def background_is_bright(small: Grey) -> bool:
    """Whether the image's background is brighter than the breast.

    Most of the extreme grey values along the edges belong to the background. A breast with an
    implant can be brighter and larger than everything else, but touches one edge only. If few
    values are extreme (scanned film), the background is the flattest part. Both rules are
    antisymmetric: they give the opposite result for the inverted image.
    """
    edges = np.ones(small.shape, dtype=np.bool_)
    edges[_EDGE:-_EDGE, _EDGE:-_EDGE] = False
    dark = float((small[edges] < _EXTREME_RANGE).mean())
    bright = float((small[edges] > 1.0 - _EXTREME_RANGE).mean())
    if max(dark, bright) >= _EXTREME_SHARE:
        return bright > dark
    mean = cv2.blur(small, (9, 9))
    variance = cv2.blur(small * small, (9, 9)) - mean * mean
    flat = variance <= np.quantile(variance, 0.3)
    if flat.all():
        raise NoBreastError("The image is blank.")
    return float(small[flat].mean()) > float(small[~flat].mean())
