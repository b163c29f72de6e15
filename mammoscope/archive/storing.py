"""Store results in the archive: by STOW-RS or C-STORE, never without a check."""

import io
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.presentation import build_context

from mammoscope.archive.dicomweb import DicomWeb
from mammoscope.archive.results import ResultObject
from mammoscope.errors import ArchiveRefusedError, ArchiveUnreachableError
from mammoscope.settings.archive import parse_dicom_address

_OWN_TITLE: Final = "MAMMOSCOPE"
_TIMEOUT_S: Final = 60.0
_WARNINGS: Final = range(0xB000, 0xC000)
_OUT_OF_RESOURCES: Final = range(0xA700, 0xA800)

Send = Callable[[str, Sequence[ResultObject]], None]
"""Sends objects of a study, or raises ArchiveError."""

logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it logs patients' UIDs


def store_results(
    study_uid: str, results: Sequence[ResultObject], send: Send, archive: DicomWeb | None
) -> None:
    """Send the results that the archive does not have, and check that it lists all.

    Parameters
    ----------
    study_uid
        Their study.
    results
        All results of the study.
    send
        `send_by_stow` or `send_by_c_store`.
    archive
        What lists the archive's instances; without it, the archive's answers are believed.

    Raises
    ------
    ArchiveUnreachableError
        If the archive does not answer.
    ArchiveRefusedError
        If it refuses an object, or does not list it.
    """
    missing = _missing(study_uid, results, archive)
    if not missing:
        return
    send(study_uid, missing)
    if archive is not None and (left := _missing(study_uid, missing, archive)):
        raise ArchiveRefusedError(
            f"The archive accepted {len(missing)} objects but does not list {len(left)} of them."
        )


def send_by_stow(archive: DicomWeb) -> Send:
    """Return a function that sends by STOW-RS."""

    def send(study_uid: str, results: Sequence[ResultObject]) -> None:
        archive.store(study_uid, [result.data for result in results])

    return send


def send_by_c_store(address: str, calling_title: str = _OWN_TITLE) -> Send:
    """Return a function that sends by C-STORE to ``AET@HOST:PORT``."""
    title, host, port = parse_dicom_address(address)

    def send(_study_uid: str, results: Sequence[ResultObject]) -> None:
        entity = AE(ae_title=calling_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _TIMEOUT_S
        kinds = {(result.sop_class_uid, result.transfer_syntax_uid) for result in results}
        association = entity.associate(
            host, port, [build_context(*kind) for kind in sorted(kinds)], ae_title=title
        )
        if association.is_rejected:
            raise ArchiveUnreachableError(
                "The archive refuses the association; it may not know this AE title."
            )
        if not association.is_established:
            raise ArchiveUnreachableError("The archive does not answer at its DICOM port.")
        try:
            for result in results:
                _require_stored(association, result)
        finally:
            association.release()

    return send


def _require_stored(association: Any, result: ResultObject) -> None:
    try:
        answer = association.send_c_store(dcmread(io.BytesIO(result.data)))
    except ValueError as err:  # no presentation context was accepted
        raise ArchiveRefusedError(
            "The archive accepts no objects of a result's SOP class and transfer syntax."
        ) from err
    except RuntimeError as err:
        raise ArchiveUnreachableError("The archive ended the association.") from err
    if "Status" not in answer:
        raise ArchiveUnreachableError("The archive ended the association.")
    status = int(answer.Status)
    if status in _OUT_OF_RESOURCES:
        raise ArchiveUnreachableError("The archive has no space left.")
    if status and status not in _WARNINGS:
        raise ArchiveRefusedError(f"The archive refuses an object with status 0x{status:04X}.")


def _missing(
    study_uid: str, results: Sequence[ResultObject], archive: DicomWeb | None
) -> Sequence[ResultObject]:
    if archive is None:
        return results
    listed = {each.uid for each in archive.instances(study_uid)}
    return [result for result in results if result.sop_instance_uid not in listed]
