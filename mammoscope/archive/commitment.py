"""Storage Commitment, push model (PS3.4 J): the archive says that it keeps what it was sent."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Final, NamedTuple

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.presentation import build_context

from mammoscope.archive.peer import Peer
from mammoscope.archive.results import ResultObject
from mammoscope.archive.results.objects import new_uid
from mammoscope.errors import ArchiveRefusedError, ArchiveUnreachableError

COMMITMENT: Final = UID("1.2.840.10008.1.20.1")
_COMMITMENT_INSTANCE: Final = UID("1.2.840.10008.1.20.1.1")
"""SOP class of the push model, and its one instance: PS3.4 J.3."""

_REQUEST: Final = 1
"""Action type of a request for commitment: PS3.4 J.3.2.1."""

_SUCCESS: Final = 0x0000
_PROCESSING_FAILURE: Final = 0x0110
_REPLY_S: Final = 0.1
"""Seconds to send the reply to a report before its association is released."""

Commit = Callable[[Sequence[ResultObject]], None]
"""Waits for the archive's commitment to objects, or raises ArchiveError."""

_log = structlog.get_logger(__name__)


class _Report(NamedTuple):
    """SOP Instance UIDs that the archive has committed to, and the report's association."""

    kept: frozenset[str]
    association: Any


class Commitments:
    """Requests for commitment, and the archive's reports about them; thread-safe.

    A report comes on the association of its request, or on one that the archive opens to the
    listener, whose events of N-EVENT-REPORT go to `report`.

    Parameters
    ----------
    peer
        The archive.
    wait_s
        Seconds to wait for a report.
    """

    def __init__(self, peer: Peer, wait_s: float) -> None:
        self._peer: Final = peer
        self._wait_s: Final = wait_s
        self._open: dict[str, Future[_Report]] = {}

    def require(self, results: Sequence[ResultObject]) -> None:
        """Ask for commitment to stored objects, and wait for it.

        If the archive offers none, or sends no report in time, this logs a warning and returns.

        Raises
        ------
        ArchiveUnreachableError
            If the archive does not answer the request.
        ArchiveRefusedError
            If it refuses the request, or does not commit to every object.
        """
        transaction = str(new_uid())
        report = self._open[transaction] = Future[_Report]()
        try:
            with self._peer.associated(
                [build_context(COMMITMENT)],
                [(evt.EVT_N_EVENT_REPORT, self.report)],
            ) as association:
                if not _asked(association, transaction, results):
                    _warn("The archive offers no Storage Commitment at this address.")
                    return
                kept, of_report = report.result(self._wait_s)
                if of_report is association:
                    time.sleep(_REPLY_S)
        except TimeoutError:
            _warn(
                f"The archive has sent no report within {self._wait_s:g} seconds. Unless it "
                "reports on the same association, it needs the worker's --listen address."
            )
            return
        finally:
            del self._open[transaction]
        left = sum(result.sop_instance_uid not in kept for result in results)
        if left:
            raise ArchiveRefusedError(
                f"The archive does not commit to {left} of {len(results)} objects."
            )

    def report(self, event: Any) -> tuple[int, None]:
        """Take an N-EVENT-REPORT; returns its status, and no data set.

        Reports of unknown requests, such as those of a worker that was killed, are accepted and
        dropped: the study is asked for again.
        """
        try:
            information = event.event_information
            transaction = str(information.TransactionUID)
            kept = frozenset(
                str(item.ReferencedSOPInstanceUID)
                for item in information.get("ReferencedSOPSequence") or ()
            )
        except Exception:  # noqa: BLE001 - whatever malformed reports lead to
            return _PROCESSING_FAILURE, None
        waiting = self._open.get(transaction)
        if waiting is not None:
            with suppress(InvalidStateError):  # a second report
                waiting.set_result(_Report(kept, event.assoc))
        return _SUCCESS, None


def _asked(association: Any, transaction: str, results: Sequence[ResultObject]) -> bool:
    """Send a request; returns False if the archive does not offer commitment."""
    request = Dataset()
    request.TransactionUID = transaction
    request.ReferencedSOPSequence = [_reference(result) for result in results]
    try:
        answer, _ = association.send_n_action(request, _REQUEST, COMMITMENT, _COMMITMENT_INSTANCE)
    except ValueError:  # the presentation context was not accepted
        return False
    except RuntimeError as err:
        raise ArchiveUnreachableError("The archive ended the association.") from err
    if "Status" not in answer:
        raise ArchiveUnreachableError("The archive ended the association.")
    if answer.Status:
        raise ArchiveRefusedError(
            f"The archive refuses a request for Storage Commitment with status "
            f"0x{int(answer.Status):04X}."
        )
    return True


def _reference(result: ResultObject) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = result.sop_class_uid
    item.ReferencedSOPInstanceUID = result.sop_instance_uid
    return item


def _warn(reason: str) -> None:
    _log.warning("not_committed", reason=reason)
