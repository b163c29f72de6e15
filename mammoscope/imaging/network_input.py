"""One image to everything that a prediction needs of it.

Reading, preprocessing and the quality gate are one step, so that the step can run in a process of
its own: see `mammoscope.imaging.pool`.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from mammoscope.errors import ImageError
from mammoscope.imaging.arrays import Pixels
from mammoscope.imaging.dicom import Pseudonyms
from mammoscope.imaging.learned_gate import LearnedGate
from mammoscope.imaging.mammogram import Exposure, Laterality, Mammogram, SourceFacts, View
from mammoscope.imaging.preprocessing import Preprocessed, preprocess
from mammoscope.imaging.quality import discrepancies, require_mammogram
from mammoscope.imaging.reading import read
from mammoscope.settings.service import ReadingLimits

_WHITE: Final = np.float32(255.0)


@dataclass(frozen=True, slots=True, eq=False)
class NetworkInput:
    """A preprocessed image that passed the quality gate.

    Parameters
    ----------
    preprocessed
        What the network sees, and how it was cut from the image.
    source
        What the encoded image was.
    laterality, view
        From the source; None where it does not say.
    exposure
        What a DICOM object says of how the image was taken.
    warnings
        What a person should know about the image, in words.
    display
        uint8 (h, w), dense tissue bright as far as the source says so: the image as it was read,
        to draw a heat map over. None where nobody asked for it.
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
    """How one encoded image is to be read.

    Parameters
    ----------
    size
        Height and width in pixels of the network's input.
    limits
        Largest size allowed.
    pseudonym_key
        At least 16 bytes; with it the patient and the study of DICOM files get pseudonyms. None
        leaves them unnamed.
    display
        Whether the result holds the image to draw a heat map over.
    gate
        Of the model's card.
    """

    size: tuple[int, int]
    limits: ReadingLimits = field(default_factory=ReadingLimits)
    pseudonym_key: bytes | None = None
    display: bool = False
    gate: LearnedGate | None = None


class Reader(Protocol):
    """Makes network inputs of encoded images; safe to use from several threads."""

    def read(
        self, data: bytes, options: ReadingOptions, check: Callable[[], None], /
    ) -> NetworkInput:
        """Read, preprocess and check one encoded image.

        Calls `check` now and then; what it raises ends the reading. Raises ImageError where the
        image is refused.
        """
        ...


def make_network_input(data: bytes, options: ReadingOptions) -> NetworkInput:
    """Read, preprocess and check one encoded image: JPEG, PNG, TIFF or DICOM.

    Raises
    ------
    ImageError
        If the image cannot be read, shows no breast or is no mammogram.
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
    """Preprocess and check an image that was read in `decode_s` seconds.

    Raises
    ------
    NoBreastError
        If the image shows no breast.
    NotAMammogramError
        If the image does not look like a mammogram.
    """
    began = time.perf_counter()
    preprocessed = preprocess(mammogram, options.size)
    require_mammogram(mammogram, preprocessed, options.gate)
    doubts = discrepancies(mammogram, preprocessed, options.gate)
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
    """Return the image in 8 bits, to draw a heat map over."""
    return np.asarray(np.rint(mammogram.pixels * _WHITE), dtype=np.uint8)
