"""How a DICOM image lies to the patient, from its elements."""

import re
from typing import Final

from mammoscope.imaging.dicom.header import Header
from mammoscope.imaging.geometry import Geometry, Spacing, SpacingOrigin
from mammoscope.imaging.mammogram import Laterality, View

_DIRECTION: Final = re.compile(r"[APRLHF]{1,3}")
_LARGEST_MM: Final = 10.0
"""Beyond it a pixel spacing is a mistake."""
_FACTORS: Final = (1.0, 5.0)
"""Magnification factors: contact views have about 1.1, magnification views up to 2."""

_SPACINGS: Final[tuple[tuple[str, SpacingOrigin], ...]] = (
    ("ImagerPixelSpacing", "detector"),
    ("NominalScannedPixelSpacing", "scanner"),
    ("PixelSpacing", "image"),
)


def geometry(header: Header, laterality: Laterality | None, view: View | None) -> Geometry:
    """Read how the image of a breast and a view lies to the patient."""
    return Geometry(laterality, view, _orientation(header), _spacing(header))


def _orientation(header: Header) -> tuple[str, str] | None:
    said = header.texts("PatientOrientation")
    if len(said) != 2 or not all(_DIRECTION.fullmatch(each) for each in said):
        return None
    return said[0], said[1]


def _spacing(header: Header) -> Spacing | None:
    """Pixel spacing, PS3.3 10.7: that of the detector is larger than that in the breast."""
    for keyword, origin in _SPACINGS:
        numbers = header.decimals(keyword)
        if len(numbers) != 2 or not all(each and 0.0 < each < _LARGEST_MM for each in numbers):
            continue
        row, column = (float(each or 0.0) for each in numbers)
        factor = header.number("EstimatedRadiographicMagnificationFactor")
        if origin == "detector" and factor and _FACTORS[0] <= factor <= _FACTORS[1]:
            return Spacing(row / factor, column / factor, "corrected")
        return Spacing(row, column, origin)
    return None
