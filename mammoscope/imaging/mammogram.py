"""The image of one breast, as every later module sees it."""

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
"""Pixels that a reduced image keeps along each side for one that is needed: the breast that is
cut out of it has enough of them where it covers half of each side. Where it covers less,
`mammoscope.imaging.preprocessing` reads the image again."""

_LEAST_SIDE: Final = 512
"""Pixels below which no side is reduced, however few are needed: the breast is sought, and
mammograms told from other images, on a copy of half that side."""

LEFT_TO_AREA: Final = 2
"""Factor of a reduction that JPEG leaves to the mean of whole pixels: what its own reduction does
to noise is then averaged away. JPEG 2000 costs too much for that."""


def reduction_for(shape: tuple[int, int], needed: tuple[int, int]) -> int:
    """Power of 2 by which an image is reduced when it is read.

    All readers reduce by it, and `mammoscope.imaging.preprocessing` crops full images where it
    would crop reduced ones, so that both give the same network input.

    Parameters
    ----------
    shape
        Height and width of the image in pixels.
    needed
        Height and width in pixels that the breast is wanted in.

    Returns
    -------
    int
        From 1 to 8. Pixels beyond a whole multiple of it, at the bottom and at the right, are
        left out.
    """
    factor = 1
    while factor < _LARGEST_REDUCTION and all(
        side // (2 * factor) >= max(_MARGIN * wanted, _LEAST_SIDE)
        for side, wanted in zip(shape, needed, strict=True)
    ):
        factor *= 2
    return factor


def shrink(pixels: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """Means of `factor` x `factor` pixels, without what is left over at the bottom and right.

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
    """What the encoded image was.

    Parameters
    ----------
    format
        Name of the container: ``JPEG``, ``PNG``, ``TIFF``, ``DICOM``.
    width, height
        Size of the encoded image in pixels, before any reduction.
    bits
        Bits a sample as stored: 1, 8, 16 or 32; of DICOM objects 1 to 16.
    mode
        Pillow's name of the sample layout, ``L``, ``RGB``, ``I;16``, ..., or DICOM's:
        ``MONOCHROME1``, ``MONOCHROME2``.
    coloured
        Share of the image that has colours, in [0, 1].
    """

    format: str
    width: int
    height: int
    bits: int
    mode: str
    coloured: float = 0.0


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a DICOM object says of how an image was taken; None where it does not.

    Parameters
    ----------
    age
        Of the patient in years, 90 for all who are older.
    implant
        Whether there is a breast implant.
    manufacturer
        Of the machine, one of a fixed list of names.
    chest_wall
        Side of the image on which the chest wall should lie.
    patient, study
        Pseudonyms, equal for images of one patient or one study.
    """

    age: float | None = None
    implant: bool | None = None
    manufacturer: str | None = None
    chest_wall: Literal["left", "right"] | None = None
    patient: str | None = None
    study: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Mammogram:
    """A single-channel radiograph of one breast.

    Parameters
    ----------
    pixels
        float32 (H, W) in [0, 1], read-only. Dense tissue is bright (the sense of DICOM's
        MONOCHROME2) as far as the source says so: images exported without undoing MONOCHROME1
        are found and inverted by `mammoscope.imaging.preprocessing`.
    source
        What the encoded image was.
    laterality, view
        From the source, None where it does not say.
    warnings
        What a person should know about the image, in words.
    read_fully
        Reads the image again with all its pixels, where `pixels` are fewer; None where they are
        all there are.
    exposure
        What a DICOM object says besides; nothing for other formats.

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
        """Pixels of the source, along each side, that one of `pixels` stands for."""
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
