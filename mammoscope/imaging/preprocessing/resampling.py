"""Resample images between edges at fractions of pixels."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mammoscope.imaging.arrays import Grey

Ends = tuple[float, float, float, float]
"""Top, bottom, left and right of a part of an image, in fractional pixels."""


def resampled(image: npt.NDArray[Any], ends: Ends, size: tuple[int, int]) -> Grey:
    """Stretch the part of an image between `ends` to `size`.

    Moving an edge by a fraction of a pixel changes the result only slightly. Each pixel is a mean
    of the image around its position, weighted by a triangle that reaches to the next position.

    Parameters
    ----------
    image
        float32 (H, W).
    ends
        Edges within the image.
    size
        Height and width of the result in pixels.
    """
    top, bottom, left, right = ends
    height, width = size
    # The outermost triangles reach beyond the edges. Pixels further out are not needed.
    above, before = (bottom - top) / height + 1.0, (right - left) / width + 1.0
    y0, x0 = max(0, math.floor(top - above)), max(0, math.floor(left - before))
    part = image[y0 : math.ceil(bottom + above), x0 : math.ceil(right + before)]
    box = (left - x0, top - y0, right - x0, bottom - y0)
    return np.asarray(
        Image.fromarray(part).resize((width, height), Image.Resampling.BILINEAR, box=box)
    )
