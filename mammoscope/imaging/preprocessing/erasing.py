"""Erase tissue from a preprocessed image, for training and for tests of the heat map."""

from typing import Final

import numpy as np
import numpy.typing as npt

from mammoscope.imaging.arrays import Pixels

MIDDLE_RANK: Final = 128
"""Value of erased tissue in every channel: each has values from 1 to 255 inside the breast, and 0
outside."""


def erase_tissue(pixels: Pixels, where: npt.NDArray[np.bool_]) -> Pixels:
    """Replace the tissue in a region by the middle grey; pixels outside the breast do not change.

    Parameters
    ----------
    pixels
        uint8 (H, W) or (H, W, 3), as returned by `preprocess`.
    where
        bool (H, W): the region.

    Returns
    -------
    ndarray
        uint8 of the same shape, a new array.
    """
    region = where if pixels.ndim == where.ndim else where[..., None]
    return np.where(region & (pixels > 0), np.uint8(MIDDLE_RANK), pixels)
