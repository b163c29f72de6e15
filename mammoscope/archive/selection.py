"""Which objects of an archive are mammograms to predict: never results, ours or others'."""

from dataclasses import dataclass
from typing import Final

from pydicom.tag import Tag
from pydicom.uid import (
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from mammoscope.archive.results.objects import DEVICE, MANUFACTURER
from mammoscope.errors import NotAMammogramError, UnsupportedImageError
from mammoscope.imaging.dicom.acceptance import require_mammogram
from mammoscope.imaging.dicom.header import TAG_NUMBERS, Header
from mammoscope.imaging.dicom.mammography import typed_errors
from mammoscope.imaging.dicom.part10 import read_header
from mammoscope.settings.service import ReadingLimits

_CAPTURES: Final = {
    SecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
}
_MORE: Final = ("SOPInstanceUID", "ManufacturerModelName")


@dataclass(frozen=True, slots=True)
class Instance:
    """An object of an archive.

    Parameters
    ----------
    study_instance_uid, sop_instance_uid
        As in its header; empty if missing.
    left_out
        Why it is not predicted, in words; None for a mammogram.
    """

    study_instance_uid: str
    sop_instance_uid: str
    left_out: str | None


def examine(data: bytes) -> Instance:
    """Read the header of a DICOM file, and decide whether it is a mammogram to predict.

    Left out are results of Mammoscope, secondary captures, images derived from others, and what
    `mammoscope.imaging.dicom.acceptance.require_mammogram` refuses.

    Raises
    ------
    ImageError
        If the header cannot be read.
    """
    with typed_errors():
        tags = {*TAG_NUMBERS, *(int(Tag(keyword)) for keyword in _MORE)}
        part = read_header(data, tags, ReadingLimits())
        header = Header(part.elements, little_endian=part.little_endian)
        sop_class = header.identifier("SOPClassUID") or part.media_storage_class
        return Instance(
            header.identifier("StudyInstanceUID"),
            header.identifier("SOPInstanceUID"),
            _reason(header, sop_class),
        )


def _reason(header: Header, sop_class: str) -> str | None:
    made_by = header.text("Manufacturer"), header.text("ManufacturerModelName")
    if made_by == (MANUFACTURER.upper(), DEVICE.upper()):
        return "The object is a result of Mammoscope."
    if sop_class in _CAPTURES:
        return "The object is a secondary capture; only images of the machine itself are predicted."
    if "SECONDARY" in header.texts("ImageType")[1:2]:
        return "The image was derived from others after the examination."
    try:
        require_mammogram(header, sop_class)
    except (NotAMammogramError, UnsupportedImageError) as err:
        return str(err)
    return None
