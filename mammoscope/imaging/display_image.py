"""One encoded image to the grey values that a viewer shows, with all their depth.

No window is applied, so that the reader of the image can choose one. The values keep the sense of
MONOCHROME2: dense tissue is bright.
"""

from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np

from mammoscope.imaging.dicom import is_dicom
from mammoscope.imaging.display_values import (
    WHOLE_WINDOW,
    DisplayValues,
    Window,
    to_display_values,
)
from mammoscope.imaging.geometry import Geometry
from mammoscope.imaging.reading import read, require_size
from mammoscope.settings.service import ReadingLimits

_NEEDED_SHARE: Final = 2
"""`mammoscope.imaging.mammogram.reduction_for` leaves at least twice what is needed."""


@dataclass(frozen=True, slots=True)
class DisplayOptions:
    """How one encoded image is to be shown.

    Parameters
    ----------
    longest_side
        Pixels that the longer side may have; all pixels where None.
    limits
        Largest size allowed.
    """

    longest_side: int | None = None
    limits: ReadingLimits = field(default_factory=ReadingLimits)


@dataclass(frozen=True, slots=True, eq=False)
class DisplayImage:
    """Grey values to show.

    Parameters
    ----------
    pixels
        uint16 (h, w).
    source_size
        Height and width of the encoded image in pixels.
    window
        Centre and width of the display window, in the unit of `pixels`.
    geometry
        How it lies to the patient.
    """

    pixels: DisplayValues
    source_size: tuple[int, int]
    window: Window
    geometry: Geometry


def make_display_image(data: bytes, options: DisplayOptions) -> DisplayImage:
    """Read one encoded image to show it: JPEG, PNG, TIFF or DICOM.

    Raises
    ------
    ImageError
        If the image cannot be read.
    """
    longest = options.longest_side
    needed = None if longest is None else (longest // _NEEDED_SHARE,) * 2
    require_size(data, options.limits)
    if is_dicom(data):
        from mammoscope.imaging.dicom.mammography import read_display  # brings pydicom

        shown = read_display(data, options.limits, needed=needed)
        pixels, window, size, geometry = shown
    else:
        mammogram = read(data, options.limits, needed=needed)
        pixels = to_display_values(mammogram.pixels)
        window = WHOLE_WINDOW
        size, geometry = (mammogram.source.height, mammogram.source.width), Geometry()
    return DisplayImage(_at_most(pixels, longest), size, window, geometry)


def _at_most(pixels: DisplayValues, longest: int | None) -> DisplayValues:
    """Shrink by area until no side is longer; padding stays padding only where all of it is."""
    height, width = pixels.shape
    if longest is None or max(height, width) <= longest:
        return pixels
    scale = longest / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint16)
