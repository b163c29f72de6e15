"""What all result objects share: references, UIDs, series and equipment."""

import io
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydicom import dcmread
from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from mammoscope import __version__
from mammoscope.archive.results.source import COPIED, REQUIRED_EMPTY, Origin, PredictedSource
from mammoscope.model.artifact.card import Card, Level
from mammoscope.studies import PredictedImage

MANUFACTURER: Final = "The Mammoscope authors"
DEVICE: Final = "Mammoscope"

REPORT_SERIES, HEAT_MAP_SERIES, CAPTURE_SERIES = 9001, 9002, 9003
"""Series numbers: far above those of machines, so that viewers list results last."""


@dataclass(frozen=True, slots=True)
class ReportReference:
    """A Structured Report that exists: SOP class and instance, and its series."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class ResultObject:
    """A DICOM object to store.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, series_instance_uid, study_instance_uid
        As in the object.
    transfer_syntax_uid
        Of the data set in `data`.
    data
        The DICOM file (PS3.10), as stored and as sent.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    data: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Reported:
    """A predicted image of the study.

    Parameters
    ----------
    source
        The file, the image as read and its prediction.
    origin
        The file's header.
    prediction
        The prediction as in results of studies, with the SOP Instance UID as the file's name.
    """

    source: PredictedSource
    origin: Origin
    prediction: PredictedImage

    @property
    def name(self) -> str:
        """Side and view in words, like ``R MLO``; empty if unknown."""
        return " ".join(word for word in (self.prediction.laterality, self.prediction.view) if word)

    @property
    def tracking_identifier(self) -> str:
        """Name of the image's measurements in all result objects, for people."""
        return f"{DEVICE} image {self.name}".strip()

    @property
    def tracking_uid(self) -> UID:
        """UID of the image's measurements in all result objects."""
        return tracking_uid(self.origin, "image", self.prediction.file)


@dataclass(frozen=True, slots=True)
class Decided:
    """What decided the labels: the model's card, and the name of its operating point."""

    card: Card
    operating_point: str


def tracking_uid(origin: Origin, level: Level, *names: str) -> UID:
    """Return the UID that tracks a measurement through all results of a study."""
    return named_uid("mammoscope", level, str(origin.reference.StudyInstanceUID), *names)


def new_uid() -> UID:
    """Draw a UID that no other object has."""
    return UID(f"2.25.{uuid.uuid4().int}")


def named_uid(*names: str) -> UID:
    """Derive a UID from names: equal names give equal UIDs, in every process."""
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(names)).int}")


def equipment(model_version: str) -> dict[str, Any]:
    """Return the constructors' arguments about the software that makes an object."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": DEVICE,
        "software_versions": (__version__, model_version),
        "device_serial_number": model_version,
    }


def evidence(origin: Origin) -> Dataset:
    """Return a source image as highdicom expects it, with empty elements of patient and study.

    highdicom refuses values that archives hold; `finished` copies them.
    """
    image = Dataset()
    image.update(origin.reference)
    for keyword in REQUIRED_EMPTY:
        setattr(image, keyword, None)
    return image


def encoded(result: Dataset) -> bytes:
    """Return an object as a DICOM file."""
    stream = io.BytesIO()
    result.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def copy_of(template: bytes, origin: Origin, series_uid: UID, number: int) -> FileDataset:
    """Return a new object of the source's study, with the elements of an encoded one.

    Elements that stay as they are, most of them, are neither parsed nor encoded again.
    """
    result = dcmread(io.BytesIO(template))
    result.StudyInstanceUID = origin.reference.StudyInstanceUID
    result.SeriesInstanceUID = series_uid
    result.SOPInstanceUID = new_uid()
    result.InstanceNumber = number
    now = datetime.now()  # noqa: DTZ005 - (0008,0201) Timezone Offset is the study's
    result.InstanceCreationDate = result.ContentDate = now.date()
    result.InstanceCreationTime = result.ContentTime = now.time()
    result.ContributingEquipmentSequence[0].ContributionDateTime = now
    return result


def set_pixels(result: Dataset, shape: tuple[int, ...], frame: bytes) -> None:
    """Set the one frame of an object, compressed, and its rows and columns."""
    result.Rows, result.Columns = shape[:2]
    result.PixelData = encapsulate([frame])


def refer(item: Dataset, origin: Origin) -> None:
    """Let a reference to an image be one to the source image."""
    item.ReferencedSOPClassUID = origin.reference.SOPClassUID
    item.ReferencedSOPInstanceUID = origin.reference.SOPInstanceUID


def finished(result: Dataset, origin: Origin) -> ResultObject:
    """Copy patient and study from the source image, and encode the object."""
    for keyword in COPIED:
        if keyword in origin.copied:
            result.add(origin.copied[keyword])
    if "SpecificCharacterSet" in result:
        # Elements of a template that were not parsed are ASCII, so they hold in any set.
        result.set_original_encoding(
            result.original_encoding[0],
            result.original_encoding[1],
            convert_encodings(result.SpecificCharacterSet),
        )
    return ResultObject(
        sop_class_uid=str(result.SOPClassUID),
        sop_instance_uid=str(result.SOPInstanceUID),
        series_instance_uid=str(result.SeriesInstanceUID),
        study_instance_uid=str(result.StudyInstanceUID),
        transfer_syntax_uid=str(result.file_meta.TransferSyntaxUID),
        data=encoded(result),
    )
