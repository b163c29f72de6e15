"""The image of one breast, as all later modules use it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

from mammoscope.errors import CorruptImageError

_LARGEST_REDUCTION: Final = 8
_MARGIN: Final = 2
"""Pixels to keep along each side per required pixel. They suffice if the breast covers half of each
side; if it covers less, `mammoscope.imaging.preprocessing` reads the image again."""

_LEAST_SIDE: Final = 512
"""Minimum side of a reduced image in pixels: the search for the breast and the quality gate use a
copy of half that side."""

LEFT_TO_AREA: Final = 2
"""Factor of the reduction left to averaging after JPEG's own reduction, to smooth out what that
does to noise. For JPEG 2000 this would cost too much."""


def reduction_for(shape: tuple[int, int], needed: tuple[int, int]) -> int:
    """Return the power of 2 by which an image is reduced when read.

    All readers use this factor, and `mammoscope.imaging.preprocessing` crops full images where it
    would crop reduced ones. Both therefore give the same network input.

    Parameters
    ----------
    shape
        Height and width of the image in pixels.
    needed
        Height and width in pixels required of the breast.

    Returns
    -------
    int
        From 1 to 8. Incomplete pixels at the bottom and right are dropped.
    """
    factor = 1
    while factor < _LARGEST_REDUCTION and all(
        side // (2 * factor) >= max(_MARGIN * wanted, _LEAST_SIDE)
        for side, wanted in zip(shape, needed, strict=True)
    ):
        factor *= 2
    return factor


def shrink(pixels: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """Average blocks of `factor` x `factor` pixels; drop incomplete blocks at bottom and right.

    Parameters
    ----------
    pixels
        float32 or uint16 (H, W); the result has the same type.
    factor
        At least 1.
    """
    if factor == 1:
        return pixels
    height, width = (side // factor for side in pixels.shape)
    whole = pixels[: height * factor, : width * factor]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA))


class Laterality(StrEnum):
    """Side of the body, as in DICOM (0020,0062) Image Laterality."""

    LEFT = "L"
    RIGHT = "R"


class View(StrEnum):
    """Projection, as in DICOM (0018,5101) View Position."""

    CRANIO_CAUDAL = "CC"
    MEDIO_LATERAL_OBLIQUE = "MLO"
    MEDIO_LATERAL = "ML"
    LATERO_MEDIAL = "LM"
    LATERO_MEDIAL_OBLIQUE = "LMO"
    SUPEROLATERAL_TO_INFEROMEDIAL_OBLIQUE = "SIO"
    INFEROMEDIAL_TO_SUPEROLATERAL_OBLIQUE = "ISO"
    CAUDO_CRANIAL = "FB"
    CRANIO_CAUDAL_EXAGGERATED_LATERALLY = "XCCL"
    CRANIO_CAUDAL_EXAGGERATED_MEDIALLY = "XCCM"


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """Facts about the encoded image.

    Parameters
    ----------
    format
        Name of the container: ``JPEG``, ``PNG``, ``TIFF``, ``DICOM``.
    width, height
        Size of the encoded image in pixels, before any reduction.
    bits
        Bits per sample as stored: 1, 8, 16 or 32; for DICOM 1 to 16.
    mode
        Sample layout by Pillow's name, ``L``, ``RGB``, ``I;16``, ..., or DICOM's, ``MONOCHROME1``
        or ``MONOCHROME2``.
    coloured
        Share of the image that is coloured, in [0, 1].
    """

    format: str
    width: int
    height: int
    bits: int
    mode: str
    coloured: float = 0.0


@dataclass(frozen=True, slots=True)
class Exposure:
    """Acquisition facts from a DICOM object; None if the object lacks them.

    Parameters
    ----------
    age
        Age of the patient in years; 90 for all older patients.
    implant
        Whether there is a breast implant.
    manufacturer
        Manufacturer of the machine, from a fixed list of names.
    chest_wall
        Side of the image on which the chest wall should be.
    patient, study
        Pseudonyms, equal for all images of a patient or study.
    """

    age: float | None = None
    implant: bool | None = None
    manufacturer: str | None = None
    chest_wall: Literal["left", "right"] | None = None
    patient: str | None = None
    study: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Mammogram:
    """A greyscale radiograph of one breast.

    Parameters
    ----------
    pixels
        float32 (H, W) in [0, 1], read-only. Dense tissue is bright (the sense of DICOM's
        MONOCHROME2) if the source declares this correctly. `mammoscope.imaging.preprocessing`
        detects and inverts images that were exported without undoing MONOCHROME1.
    source
        Facts about the encoded image.
    laterality, view
        From the source; None if unknown.
    warnings
        What a reader should know about the image, in words.
    read_fully
        Reads the image again at full resolution; None if `pixels` already has it.
    exposure
        Acquisition facts from a DICOM object; empty for other formats.

    Raises
    ------
    CorruptImageError
        If `pixels` is not two-dimensional, is empty, or holds NaN or values outside [0, 1].
    """

    pixels: npt.NDArray[np.float32]
    source: SourceFacts
    laterality: Laterality | None = None
    view: View | None = None
    warnings: tuple[str, ...] = field(default=())
    read_fully: Callable[[], "Mammogram"] | None = field(default=None, repr=False)
    exposure: Exposure = Exposure()

    @property
    def reduction(self) -> int:
        """Number of source pixels, along each side, per pixel of `pixels`."""
        if self.read_fully is None:
            return 1
        longest: int = max(self.pixels.shape)
        return max(1, round(max(self.source.width, self.source.height) / longest))

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or self.pixels.size == 0:
            raise CorruptImageError("The image has no two-dimensional grey pixels.")
        if self.pixels.dtype != np.float32:
            raise CorruptImageError("The image's pixels are not float32.")
        low, high = float(self.pixels.min()), float(self.pixels.max())
        if not (low >= 0.0 and high <= 1.0):  # also False for NaN
            raise CorruptImageError("The image's pixels are not numbers between 0 and 1.")
        self.pixels.setflags(write=False)
