"""DICOM files of studies in folders, for researchers: pulled from and pushed to an archive."""

import io
import warnings
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from mammoscope.archive.dicomweb import DicomWeb
from mammoscope.archive.results import ResultObject
from mammoscope.errors import ArchiveRefusedError, StorageError, UnreadableFileError
from mammoscope.system.files import replacing

_HEADER: Final = ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"]


def pull(archive: DicomWeb, study_uid: str, folder: Path) -> Iterator[Path]:
    """Write the source images of a study to `folder`; yields each path.

    Raises
    ------
    ArchiveError
        If the archive cannot be asked, or has no image of the study that could be predicted.
    StorageError
        If a file cannot be written.
    """
    sources = [each for each in archive.instances(study_uid) if each.is_source]
    if not sources:
        raise ArchiveRefusedError("The archive lists no mammogram of this study.")
    for each in sources:
        path = folder / study_uid.replace("/", "_") / f"{each.uid.replace('/', '_')}.dcm"
        data = archive.retrieve(study_uid, each)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as target:
                target.write_bytes(data)
        except OSError as err:
            raise StorageError("The images cannot be written: no space or no permission.") from err
        yield path


def read_objects(paths: list[Path]) -> Iterator[tuple[str, list[ResultObject]]]:
    """Yield the objects in files and folders by their study, which is yielded first.

    Raises
    ------
    UnreadableFileError
        If there is no file, or one cannot be read or is no DICOM file.
    """
    files = [
        file
        for path in paths
        for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if not file.is_dir()
    ]
    if not files:
        raise UnreadableFileError("There are no files to send.")
    objects = sorted(map(_read, files), key=lambda each: each.study_instance_uid)
    for study_uid, members in groupby(objects, lambda each: each.study_instance_uid):
        yield study_uid, list(members)


def _read(path: Path) -> ResultObject:
    try:
        data = path.read_bytes()
        with warnings.catch_warnings():  # the warnings quote values
            warnings.simplefilter("ignore")
            header = dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=[*_HEADER])
            return ResultObject(
                sop_class_uid=str(header.SOPClassUID),
                sop_instance_uid=str(header.SOPInstanceUID),
                series_instance_uid=str(header.SeriesInstanceUID),
                study_instance_uid=str(header.StudyInstanceUID),
                transfer_syntax_uid=str(header.file_meta.TransferSyntaxUID),
                data=data,
            )
    except OSError as err:
        raise UnreadableFileError("The file cannot be read.").at(path) from err
    except (InvalidDicomError, AttributeError, ValueError) as err:
        raise UnreadableFileError("The file is no DICOM object with its UIDs.").at(path) from err
