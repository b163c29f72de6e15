"""The images of a study with their predictions, and what results copy from their headers."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag

from mammoscope.errors import CorruptImageError, ImageError
from mammoscope.imaging.arrays import Pixels
from mammoscope.imaging.dicom.header import Header
from mammoscope.imaging.dicom.mammography import typed_errors
from mammoscope.imaging.dicom.part10 import read_header
from mammoscope.imaging.network_input import NetworkInput, ReadingOptions
from mammoscope.model.artifact.card import DEFAULT_POINT
from mammoscope.model.engine import Engine
from mammoscope.model.prediction import Prediction
from mammoscope.settings.service import ReadingLimits
from mammoscope.studies import Refusal

_REFERENCED: Final = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")

_ORIENTATION: Final = "PatientOrientation"

REQUIRED_EMPTY: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
"""Elements of patient and study that every object has, if only empty (type 2)."""

COPIED: Final = (
    *REQUIRED_EMPTY,
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
    # PS3.3 C.7.1.1 Patient
    "IssuerOfPatientID",
    "TypeOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "PatientBirthTime",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "EthnicGroup",
    "PatientComments",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    # C.7.1.3 Clinical Trial Subject
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    # C.7.2.1 General Study
    "StudyInstanceUID",
    "StudyDescription",
    "IssuerOfAccessionNumberSequence",
    "ProcedureCodeSequence",
    # C.7.2.2 Patient Study
    "PatientAge",
)
"""Keywords of the elements that results copy from a source image."""


@dataclass(frozen=True, slots=True, eq=False)
class PredictedSource:
    """An image with its prediction.

    Parameters
    ----------
    data
        The DICOM file.
    image
        The image as read, with ``display``.
    prediction
        Its prediction.

    Raises
    ------
    ValueError
        If the image was read without ``display``.
    """

    data: bytes
    image: NetworkInput
    prediction: Prediction

    def __post_init__(self) -> None:
        if self.image.display is None:
            raise ValueError("the image has no display; read it with ReadingOptions(display=True)")

    @property
    def display(self) -> Pixels:
        """The image as read, uint8 (h, w)."""
        assert self.image.display is not None  # noqa: S101 - checked when made
        return self.image.display


@dataclass(frozen=True, slots=True, eq=False)
class RefusedSource:
    """An image without a prediction.

    Parameters
    ----------
    data
        The DICOM file.
    refusal
        The reason.
    """

    data: bytes
    refusal: Refusal


SourceImage = PredictedSource | RefusedSource


def predict_source(
    data: bytes,
    engine: Engine,
    read: Callable[[bytes, ReadingOptions], NetworkInput],
    operating_point: str = DEFAULT_POINT,
) -> SourceImage:
    """Read and predict one DICOM file; a refusal is a result, too.

    Parameters
    ----------
    data
        A DICOM file (PS3.10).
    engine
        The inference engine.
    read
        Reads an image, like `mammoscope.imaging.pool.ReadingPool.read`.
    operating_point
        Operating point of the card whose threshold decides the label.

    Raises
    ------
    ConfigurationError
        If the card has no such operating point.
    """
    try:
        image = read(data, engine.card.reading_options(display=True))
        prediction = engine.predict(image, operating_point=operating_point)
    except ImageError as err:
        return RefusedSource(data, Refusal(code=err.code, message=str(err)))
    return PredictedSource(data, image, prediction)


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """What results need of a source image's header.

    Parameters
    ----------
    reference
        SOP Class, SOP Instance, Series Instance and Study Instance UID.
    copied
        Those of the elements `COPIED` that the image has and that can be written.
    orientation
        (0020,0020) Patient Orientation, of rows and columns; empty if the image lacks it.
    """

    reference: Dataset
    copied: Dataset
    orientation: list[str]

    @property
    def patient(self) -> tuple[str, str]:
        """Patient ID and its issuer, without padding; equal for all images of a patient."""
        return _text(self.copied, "PatientID"), _text(self.copied, "IssuerOfPatientID")


def read_origin(data: bytes) -> Origin:
    """Read the header of a source image.

    Raises
    ------
    CorruptImageError
        If the header cannot be read, or lacks a UID.
    """
    with typed_errors():
        tags = [Tag(keyword) for keyword in (*_REFERENCED, *COPIED, _ORIENTATION)]
        part = read_header(data, tags, ReadingLimits())
        found = part.elements
        if part.media_storage_class and not _text(found, "SOPClassUID"):
            found.SOPClassUID = part.media_storage_class
        reference = Dataset()
        for keyword in _REFERENCED:
            setattr(reference, keyword, _text(found, keyword))
        copied = _copied(found)
        turned = Header(found, little_endian=part.little_endian).texts(_ORIENTATION)
    if any(not reference[keyword].value for keyword in _REFERENCED):
        raise CorruptImageError(
            "The DICOM file lacks a UID of its study, series, instance or SOP class, so results "
            "cannot refer to it."
        )
    return Origin(reference, copied, list(turned))


def _text(elements: Dataset, keyword: str) -> str:
    return str(elements.get(keyword) or "").strip(" \0")


def _copied(elements: Dataset) -> Dataset:
    """Return the elements to copy whose values can be read and written again."""
    try:
        return _checked(elements, COPIED)
    except Exception:  # noqa: BLE001 - whatever malformed values lead to
        copied = Dataset()
    for keyword in COPIED:
        with suppress(Exception):
            copied.update(_checked(elements, [keyword]))
    return copied


def _checked(elements: Dataset, keywords: Sequence[str]) -> Dataset:
    """Return some of the elements; raises whatever pydicom raises if one cannot be written."""
    found = Dataset()
    for keyword in keywords:
        if keyword in elements:
            found.add(elements[keyword])
    alone = Dataset()
    alone.update(found)
    if "SpecificCharacterSet" in elements:
        alone.SpecificCharacterSet = elements.SpecificCharacterSet
    target = DicomBytesIO()
    target.is_implicit_VR, target.is_little_endian = False, True
    write_dataset(target, alone)
    return found
