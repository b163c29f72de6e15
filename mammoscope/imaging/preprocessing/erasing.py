"""Tissue taken out of a preprocessed image, for training and to see what a score rests on."""

from typing import Final

import numpy as np
import numpy.typing as npt

from mammoscope.imaging.arrays import Pixels

MIDDLE_RANK: Final = 128
"""Grey value of erased tissue: preprocessed pixels are ranks from 1 to 255, 0 lies outside."""


def erase_tissue(pixels: Pixels, where: npt.NDArray[np.bool_]) -> Pixels:
    """Put the middle grey in place of the tissue in a region; what lies outside the breast stays.

    Parameters
    ----------
    pixels
        uint8 (H, W) as `preprocess` makes it.
    where
        bool (H, W).

    Returns
    -------
    ndarray
        uint8 (H, W), a new array.
    """
    return np.where(where & (pixels > 0), np.uint8(MIDDLE_RANK), pixels)
