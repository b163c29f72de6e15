"""How an image lies to the patient: breast, orientation, distance between pixels."""

from dataclasses import dataclass
from typing import Literal

from mammoscope.imaging.mammogram import Laterality, View

SpacingOrigin = Literal["corrected", "detector", "scanner", "image"]
"""Where a pixel spacing holds: in the breast (the detector's over the magnification factor), at
the detector, on the film that was scanned, or where the file does not say."""


@dataclass(frozen=True, slots=True)
class Spacing:
    """Distance between the centres of two pixels of the source image.

    Parameters
    ----------
    row_mm, column_mm
        Between two rows and between two columns, in millimetres.
    origin
        Where it holds.
    """

    row_mm: float
    column_mm: float
    origin: SpacingOrigin


@dataclass(frozen=True, slots=True)
class Geometry:
    """How an image lies to the patient; None where the file does not say.

    Parameters
    ----------
    laterality, view
        Of the breast.
    orientation
        (0020,0020) Patient Orientation: where rows and columns run to, like ``A`` and ``FR``.
    spacing
        Of the source image.
    """

    laterality: Laterality | None = None
    view: View | None = None
    orientation: tuple[str, str] | None = None
    spacing: Spacing | None = None
