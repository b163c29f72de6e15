"""Store results in the archive: by STOW-RS or C-STORE, never without a check."""

import io
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from pydicom import dcmread
from pydicom.uid import UID
from pynetdicom.presentation import build_context

from mammoscope.archive.commitment import Commit
from mammoscope.archive.dicomweb import DicomWeb
from mammoscope.archive.peer import Peer
from mammoscope.archive.results import ResultObject
from mammoscope.errors import ArchiveRefusedError, ArchiveUnreachableError

_WARNINGS: Final = range(0xB000, 0xC000)
_OUT_OF_RESOURCES: Final = range(0xA700, 0xA800)

Send = Callable[[str, Sequence[ResultObject]], None]
"""Sends objects of a study, or raises ArchiveError."""


def store_results(
    study_uid: str,
    results: Sequence[ResultObject],
    send: Send,
    archive: DicomWeb | None,
    commit: Commit | None = None,
) -> None:
    """Send the results that the archive does not have, and check that it keeps all.

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
    commit
        Waits for the archive's commitment to all results, also those that it lists already.

    Raises
    ------
    ArchiveUnreachableError
        If the archive does not answer.
    ArchiveRefusedError
        If it refuses an object, does not list it or does not commit to it.
    """
    missing = _missing(study_uid, results, archive)
    if missing:
        send(study_uid, missing)
    if missing and archive is not None and (left := _missing(study_uid, missing, archive)):
        raise ArchiveRefusedError(
            f"The archive accepted {len(missing)} objects but does not list {len(left)} of them."
        )
    if commit is not None:
        commit(results)


def send_by_stow(archive: DicomWeb) -> Send:
    """Return a function that sends by STOW-RS."""

    def send(study_uid: str, results: Sequence[ResultObject]) -> None:
        archive.store(study_uid, [result.data for result in results])

    return send


def send_by_c_store(peer: Peer) -> Send:
    """Return a function that sends by C-STORE: all kinds of objects, or nothing."""

    def send(_study_uid: str, results: Sequence[ResultObject]) -> None:
        kinds = {(result.sop_class_uid, result.transfer_syntax_uid) for result in results}
        with peer.associated([build_context(*kind) for kind in sorted(kinds)]) as association:
            _require_accepted(association, kinds)
            for result in results:
                _require_stored(association, result)

    return send


def _require_accepted(association: Any, kinds: Collection[tuple[str, str]]) -> None:
    accepted = {
        (each.abstract_syntax, each.transfer_syntax[0]) for each in association.accepted_contexts
    }
    refused = sorted(
        f"{UID(kind).name} in {UID(syntax).name}" for kind, syntax in {*kinds} - accepted
    )
    if refused:
        raise ArchiveRefusedError(
            f"The archive's DICOM node does not accept {', '.join(refused)}; nothing was sent."
        )


def _require_stored(association: Any, result: ResultObject) -> None:
    try:
        answer = association.send_c_store(dcmread(io.BytesIO(result.data)))
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
