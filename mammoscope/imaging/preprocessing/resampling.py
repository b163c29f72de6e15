"""Images stretched from edges that need not lie between pixels."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mammoscope.imaging.arrays import Grey

Ends = tuple[float, float, float, float]
"""Top, bottom, left and right of a part of an image, in parts of pixels."""


def resampled(image: npt.NDArray[Any], ends: Ends, size: tuple[int, int]) -> Grey:
    """Stretch what lies between `ends` to `size`.

    An edge that moves by parts of a pixel changes the result by as little: each of its pixels is
    the mean of the image's around its place, weighted by a triangle that reaches as far as the
    next place.

    Parameters
    ----------
    image
        float32 (H, W).
    ends
        Within the image.
    size
        Height and width of the result in pixels.
    """
    top, bottom, left, right = ends
    height, width = size
    # Triangles at the ends reach beyond them. What lies farther off need not be copied.
    above, before = (bottom - top) / height + 1.0, (right - left) / width + 1.0
    y0, x0 = max(0, math.floor(top - above)), max(0, math.floor(left - before))
    part = image[y0 : math.ceil(bottom + above), x0 : math.ceil(right + before)]
    box = (left - x0, top - y0, right - x0, bottom - y0)
    return np.asarray(
        Image.fromarray(part).resize((width, height), Image.Resampling.BILINEAR, box=box)
    )
