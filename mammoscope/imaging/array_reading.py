"""Convert arrays of grey pixels to a `Mammogram`, for programs that decode images themselves."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mammoscope.errors import UnsupportedImageError
from mammoscope.imaging.mammogram import Mammogram, SourceFacts

_AXES: Final = 2


def read_array(pixels: npt.NDArray[Any]) -> Mammogram:
    """Make a mammogram from an array of grey pixels.

    Parameters
    ----------
    pixels
        (H, W), dense tissue bright: uint8 or uint16, scaled by the maximum of the type, or
        floating-point in [0, 1]. Scale 12-bit samples to 16 bits first.

    Returns
    -------
    Mammogram
        Pixels float32 (H, W) in [0, 1].

    Raises
    ------
    UnsupportedImageError
        If the array has another shape or type.
    CorruptImageError
        If it is empty or has a value outside [0, 1].
    """
    allowed = pixels.dtype.kind == "f" or pixels.dtype in (np.uint8, np.uint16)
    if pixels.ndim != _AXES or not allowed:
        raise UnsupportedImageError(
            f"The array has type {pixels.dtype} and shape {pixels.shape}; allowed are arrays of "
            "shape (height, width) of type uint8, uint16, or floating-point from 0 to 1."
        )
    grey = pixels.astype(np.float32)
    if pixels.dtype.kind == "u":
        grey /= np.float32(np.iinfo(pixels.dtype).max)
    height, width = pixels.shape
    bits = 8 * pixels.dtype.itemsize
    return Mammogram(grey, SourceFacts("array", width, height, bits, str(pixels.dtype)))
