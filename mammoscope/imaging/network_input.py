"""One encoded image to everything that a prediction needs of it.

Reading, preprocessing and the quality gate in one step, so that the step can run in a process of
its own: see `mammoscope.imaging.pool`.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from mammoscope.imaging.dicom import Pseudonyms
from mammoscope.imaging.mammogram import Exposure, Laterality, Mammogram, SourceFacts, View
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.quality import discrepancies, require_mammogram
from mammoscope.imaging.reading import read
from mammoscope.settings import ReadingLimits

_WHITE: Final = np.float32(255.0)


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of an image beside its pixels.

    Parameters
    ----------
    source
        What the encoded image was.
    box
        Smallest box (top, left, bottom, right) that holds the crop, half-open, in pixels of the
        image as it was read.
    mirrored
        Whether left and right were exchanged.
    chest_wall
        Side of the source image on which the chest wall lies.
    laterality, view
        From the source; None where it does not say.
    exposure
        What a DICOM object says of how the image was taken.
    warnings
        What a person should know about the image, in words.
    """

    source: SourceFacts
    box: tuple[int, int, int, int]
    mirrored: bool
    chest_wall: Literal["left", "right"]
    laterality: Laterality | None = None
    view: View | None = None
    exposure: Exposure = field(default_factory=Exposure)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class NetworkInput:
    """A preprocessed image that passed the quality gate.

    Parameters
    ----------
    pixels
        uint8 (H, W), read-only: the network's input, as `mammoscope.imaging.preprocessing`
        makes it.
    facts
        What is known of the image beside its pixels.
    display
        uint8 (h, w), dense tissue bright as far as the source says so: the image as it was read,
        to draw a heat map over. None where nobody asked for it.
    """

    pixels: npt.NDArray[np.uint8]
    facts: ImageFacts
    display: npt.NDArray[np.uint8] | None = None


def make_network_input(
    data: bytes,
    size: tuple[int, int],
    limits: ReadingLimits | None = None,
    *,
    pseudonyms: Pseudonyms | None = None,
    display: bool = False,
) -> NetworkInput:
    """Read, preprocess and check one encoded image.

    Parameters
    ----------
    data
        An encoded JPEG, PNG, TIFF or DICOM file.
    size
        Height and width in pixels of the network's input.
    limits
        Largest size allowed; the defaults of `ReadingLimits` where None.
    pseudonyms
        Names the patient and the study of DICOM files; they stay unnamed where None.
    display
        Whether the result holds the image to draw a heat map over.

    Raises
    ------
    ImageError
        If the image cannot be read, shows no breast or is no mammogram.
    """
    mammogram = read(data, limits, needed=size, pseudonyms=pseudonyms)
    return network_input_of(mammogram, size, display=display)


def network_input_of(
    mammogram: Mammogram, size: tuple[int, int], *, display: bool = False
) -> NetworkInput:
    """Preprocess and check an image that is read already; the rest as `make_network_input`."""
    preprocessed = preprocess(mammogram, size)
    require_mammogram(mammogram, preprocessed)
    facts = ImageFacts(
        source=mammogram.source,
        box=preprocessed.box,
        mirrored=preprocessed.mirrored,
        chest_wall=preprocessed.chest_wall,
        laterality=mammogram.laterality,
        view=mammogram.view,
        exposure=mammogram.exposure,
        warnings=(*mammogram.warnings, *discrepancies(mammogram, preprocessed)),
    )
    shown = np.rint(mammogram.pixels * _WHITE).astype(np.uint8) if display else None
    return NetworkInput(preprocessed.pixels, facts, shown)
