"""Turn one encoded image into everything that a prediction needs.

Reading, preprocessing and the quality gate form one step, so that it can run in a separate process;
see `mammoscope.imaging.pool`.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from mammoscope.errors import ImageError
from mammoscope.imaging.arrays import Pixels
from mammoscope.imaging.dicom import Pseudonyms
from mammoscope.imaging.display_image import DisplayImage, DisplayOptions
from mammoscope.imaging.learned_gate import LearnedGate
from mammoscope.imaging.mammogram import Exposure, Laterality, Mammogram, SourceFacts, View
from mammoscope.imaging.preprocessing import Preprocessed, pixels_shape, preprocess
from mammoscope.imaging.quality import discrepancies, require_mammogram
from mammoscope.imaging.reading import read
from mammoscope.settings.channels import ChannelsName
from mammoscope.settings.service import ReadingLimits

_WHITE: Final = np.float32(255.0)


@dataclass(frozen=True, slots=True, eq=False)
class NetworkInput:
    """A preprocessed image that has passed the quality gate.

    Parameters
    ----------
    preprocessed
        The network's input, and how it was cut from the image.
    source
        Facts about the encoded image.
    laterality, view
        From the source; None if unknown.
    exposure
        Acquisition facts from a DICOM object.
    warnings
        What a reader should know about the image, in words.
    display
        uint8 (h, w), dense tissue bright if the source declares this correctly: the image as read,
        for drawing a heat map over it. None if not requested.
    stage_s
        Seconds spent in the stages ``decode`` and ``prepare``.
    """

    preprocessed: Preprocessed
    source: SourceFacts
    laterality: Laterality | None = None
    view: View | None = None
    exposure: Exposure = field(default_factory=Exposure)
    warnings: tuple[str, ...] = ()
    display: Pixels | None = None
    stage_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """How to read one encoded image.

    Parameters
    ----------
    size
        Height and width of the network's input in pixels.
    channels
        As in `mammoscope.imaging.preprocessing.preprocess`.
    limits
        Maximum image size.
    pseudonym_key
        At least 16 bytes; makes pseudonyms of the patient and study of DICOM files. None leaves
        both out.
    display
        Whether to include the image for drawing a heat map over it.
    gate
        Of the model's card.
    """

    size: tuple[int, int]
    channels: ChannelsName = "ranks"
    limits: ReadingLimits = field(default_factory=ReadingLimits)
    pseudonym_key: bytes | None = None
    display: bool = False
    gate: LearnedGate | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the preprocessed pixels: (H, W) or (H, W, 3)."""
        return pixels_shape(self.size, self.channels)


class Reader(Protocol):
    """Makes network inputs from encoded images; thread-safe."""

    def read(
        self, data: bytes, options: ReadingOptions, check: Callable[[], None], /
    ) -> NetworkInput:
        """Read, preprocess and check one encoded image.

        Calls `check` repeatedly; an exception from it ends the reading. Raises ImageError if the
        image is refused.
        """
        ...

    def read_display(
        self, data: bytes, options: DisplayOptions, check: Callable[[], None], /
    ) -> DisplayImage:
        """Read one encoded image to show it; else as `read`."""
        ...


def make_network_input(data: bytes, options: ReadingOptions) -> NetworkInput:
    """Read, preprocess and check one encoded image: JPEG, PNG, TIFF or DICOM.

    Raises
    ------
    ImageError
        If the image cannot be read, shows no breast, or is not a mammogram.
    """
    key = options.pseudonym_key
    began = time.perf_counter()
    mammogram = read(
        data,
        options.limits,
        needed=options.size,
        pseudonyms=None if key is None else Pseudonyms(key),
    )
    decode_s = time.perf_counter() - began
    try:
        return network_input_of(mammogram, options, decode_s=decode_s)
    except ImageError as err:
        err.known = {
            "patient": mammogram.exposure.patient,
            "study": mammogram.exposure.study,
            "laterality": mammogram.laterality,
            "view": mammogram.view,
        }
        raise


def network_input_of(
    mammogram: Mammogram, options: ReadingOptions, *, decode_s: float = 0.0
) -> NetworkInput:
    """Preprocess and check an image that took `decode_s` seconds to read.

    Raises
    ------
    NoBreastError
        If the image shows no breast.
    NotAMammogramError
        If the image does not look like a mammogram.
    """
    began = time.perf_counter()
    preprocessed = preprocess(mammogram, options.size, channels=options.channels)
    appearance = require_mammogram(mammogram, preprocessed, options.gate)
    doubts = discrepancies(mammogram, preprocessed, appearance, options.gate)
    return NetworkInput(
        preprocessed=preprocessed,
        source=mammogram.source,
        laterality=mammogram.laterality,
        view=mammogram.view,
        exposure=mammogram.exposure,
        warnings=(*mammogram.warnings, *doubts),
        display=display_of(mammogram) if options.display else None,
        stage_s={"decode": decode_s, "prepare": time.perf_counter() - began},
    )


def display_of(mammogram: Mammogram) -> Pixels:
    """Return the image in 8 bits, for drawing a heat map over it."""
    return np.asarray(np.rint(mammogram.pixels * _WHITE), dtype=np.uint8)
