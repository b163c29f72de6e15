"""The scale of grey values that a viewer gets: 16 bits, with one value for what is no image."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

PADDING: Final = 0
"""Value of pixels that are no part of the image. They stay black even in an inverted display."""

LEAST: Final = 1
MOST: Final = 65_535
"""Least and greatest value of the image's own pixels."""

Window = tuple[float, float]
"""Centre and width of a display window, in display values."""

WHOLE_WINDOW: Final[Window] = ((LEAST + MOST) / 2.0, float(MOST - LEAST))
"""The window that shows every value."""

DisplayValues = npt.NDArray[np.uint16]
"""Grey values to show: uint16 (H, W), dense tissue bright, `PADDING` where there is no image."""


def to_display_values(share: npt.NDArray[Any]) -> DisplayValues:
    """Values from `LEAST` to `MOST` of shares of the range, in [0, 1]."""
    return np.asarray(np.rint(LEAST + share * np.float32(MOST - LEAST)), np.uint16)


def to_window(low: float, high: float) -> Window:
    """Window between two shares of the range; they may lie outside [0, 1]."""
    return LEAST + (low + high) / 2.0 * (MOST - LEAST), max((high - low) * (MOST - LEAST), 1.0)
