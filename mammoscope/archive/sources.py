"""Get the images of a leased study, from the spool and the archive."""

from typing import Final

from mammoscope.archive.dicomweb import DicomWeb
from mammoscope.archive.results import ReportReference
from mammoscope.archive.spool import Spool
from mammoscope.archive.state import Claim, State
from mammoscope.errors import ArchiveError, IncompleteStudyError, StorageError

_MOST_IMAGES: Final = 64
"""Maximum number of images of a study. Screening studies have 4, with repeats and mosaics below 20;
all are in memory at once."""


def gather(
    claim: Claim, state: State, archive: DicomWeb | None, spool: Spool | None
) -> list[bytes]:
    """Return the DICOM files of a study's source images.

    Images that the archive does not list any more were removed there, and count no more.

    Raises
    ------
    IncompleteStudyError
        If images are neither in the spool nor in the archive.
    ArchiveError
        If the archive cannot be asked, or the study has too many images.
    StorageError
        If the spool cannot be read.
    """
    if len(claim.images) > _MOST_IMAGES:
        raise ArchiveError(
            f"The study has {len(claim.images)} images; at most {_MOST_IMAGES} are supported."
        )
    received = spool.images(claim.id) if spool is not None and claim.spool == spool.id else {}
    try:
        files = {name: path.read_bytes() for name, path in received.items() if name in claim.images}
    except OSError as err:
        raise StorageError("The spool cannot be read.") from err
    missing = claim.images - files.keys()
    if missing and archive is not None:
        listed = {
            state.hash("image", each.uid): each
            for each in archive.instances(claim.study_uid)
            if each.is_source
        }
        for name in sorted(missing & listed.keys()):
            files[name] = archive.retrieve(claim.study_uid, listed[name])
        if listed:
            missing = frozenset()
    if missing - files.keys():
        raise IncompleteStudyError(
            f"{len(missing)} of the study's {len(claim.images)} images are not here any more. Send "
            "the whole study again, then try again."
        )
    return [files[name] for name in sorted(files)]


def predecessor(claim: Claim, state: State, archive: DicomWeb | None) -> ReportReference | None:
    """Return the study's last report, as far as the archive lists it; else None.

    The state knows it only by its hash, since it is finished work.

    Raises
    ------
    ArchiveError
        If the archive cannot be asked.
    """
    if claim.report is None or archive is None:
        return None
    for each in archive.instances(claim.study_uid):
        if each.modality in ("", "SR") and state.hash("report", each.uid) == claim.report:
            return ReportReference(each.sop_class_uid, each.uid, each.series_uid)
    return None
