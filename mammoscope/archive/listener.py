"""The door that listens: a storage SCP (C-STORE, C-ECHO) that puts images into the spool."""

import io
import warnings
from collections.abc import Callable
from typing import Any, Final

import structlog
from pydicom import dcmread
from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.presentation import build_context

from mammoscope.archive.commitment import COMMITMENT, Commitments
from mammoscope.archive.dicomweb import is_source
from mammoscope.archive.peer import VERIFICATION
from mammoscope.archive.spool import Spool
from mammoscope.archive.state import Sighting, State
from mammoscope.archive.tls import receiving_context
from mammoscope.errors import ConfigurationError, StateError, StorageError
from mammoscope.settings.archive import ArchiveSettings, parse_dicom_address

_SUCCESS: Final = 0x0000
_OUT_OF_RESOURCES: Final = 0xA700
_CANNOT_UNDERSTAND: Final = 0xC000
"""Statuses of C-STORE: PS3.4 B.2.3."""

_MOST_ASSOCIATIONS: Final = 8
_IDLE_S: Final = 60.0
"""Seconds after which an association without a message is ended."""

_HEADER: Final = ["StudyInstanceUID", "SOPInstanceUID", "Modality"]

_log = structlog.get_logger(__name__)


class Listener:
    """A storage SCP in its own threads.

    Objects that are no source images are accepted and dropped, because a sender that gets a refusal
    may not send the rest of the study. Each image is on disk and in the state before its sender is
    told so.

    Parameters
    ----------
    settings
        Address, allowed senders and certificates.
    spool
        Receives the images.
    state
        Receives their studies.
    enter
        Enters a sighting into the state; returns whether it makes work.
    commitments
        Takes the archive's reports of Storage Commitment; None refuses them.

    Raises
    ------
    ConfigurationError
        If the port cannot be used, or a certificate cannot be read.
    """

    def __init__(
        self,
        settings: ArchiveSettings,
        spool: Spool,
        state: State,
        enter: Callable[[Sighting], bool],
        commitments: Commitments | None = None,
    ) -> None:
        if settings.listen is None:
            raise ConfigurationError("The AE title and port to listen on are missing.")
        self._spool: Final = spool
        self._state: Final = state
        self._enter: Final = enter
        address = parse_dicom_address(settings.listen)
        entity = AE(ae_title=address.title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(settings.calling_titles)
        entity.maximum_associations = _MOST_ASSOCIATIONS
        entity.network_timeout = entity.dimse_timeout = entity.acse_timeout = _IDLE_S
        contexts = [
            build_context(each.abstract_syntax or "", [*AllTransferSyntaxes])
            for each in AllStoragePresentationContexts
        ]
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store)]
        if commitments is not None:
            reports = build_context(COMMITMENT)
            reports.scu_role = reports.scp_role = True  # the archive is the SCP
            contexts.append(reports)
            handlers.append((evt.EVT_N_EVENT_REPORT, commitments.report))
        try:
            self._server: Any = entity.start_server(
                (address.host, address.port),
                block=False,
                ssl_context=receiving_context(settings.listen_certificate, settings.listen_ca_file),
                evt_handlers=handlers,
                contexts=[*contexts, build_context(VERIFICATION)],
            )
        except OSError as err:
            raise ConfigurationError(
                f"Port {address.port} cannot be listened on: it is in use or not allowed."
            ) from err

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()

    def enter_again(self) -> None:
        """Enter what is in the spool: a process that was killed may not have come to it."""
        for study in self._spool.studies():
            uids = {}
            for image, path in self._spool.images(study).items():
                study_uid, uids[image], _ = _identity(path.read_bytes())
            self._enter_study(study, Sighting(study_uid, list(uids.values()), self._spool.id))

    def _store(self, event: Any) -> int:
        try:
            data = event.encoded_dataset()
            study_uid, image_uid, modality = _identity(data)
        except Exception:  # noqa: BLE001 - whatever malformed objects lead to
            return _CANNOT_UNDERSTAND
        if not is_source(str(event.request.AffectedSOPClassUID), modality):
            return _SUCCESS
        study = self._state.hash("study", study_uid)
        try:
            with self._spool.lock:
                self._spool.write(study, self._state.hash("image", image_uid), data)
                self._enter_study(study, Sighting(study_uid, [image_uid], self._spool.id))
        except (StorageError, StateError) as err:
            _log.warning("image_refused", code=err.code, reason=str(err))
            return _OUT_OF_RESOURCES
        return _SUCCESS

    def _enter_study(self, study: str, sighting: Sighting) -> None:
        if not self._enter(sighting):  # images of a reported study that are sent again
            self._spool.remove(study, lambda: self._state.holds(self._spool.id, study))


def _identity(data: bytes) -> tuple[str, str, str]:
    """Return study, instance and modality; raises whatever pydicom raises if it cannot."""
    with warnings.catch_warnings():  # the warnings quote values
        warnings.simplefilter("ignore")
        header = dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=[*_HEADER])
        study, instance = str(header.StudyInstanceUID), str(header.SOPInstanceUID)
        if not study or not instance:
            raise ValueError("no UID")
        return study, instance, str(header.get("Modality") or "")
