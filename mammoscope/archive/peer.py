"""The archive's DICOM node, to which associations are opened (PS3.8), by TLS if set."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.presentation import PresentationContext, build_context

from mammoscope.archive.tls import sending_context
from mammoscope.errors import ArchiveUnreachableError, ConfigurationError
from mammoscope.settings.archive import ArchiveSettings, parse_dicom_address

VERIFICATION: Final = UID("1.2.840.10008.1.1")

_OWN_TITLE: Final = "MAMMOSCOPE"
_TIMEOUT_S: Final = 60.0

logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it logs patients' UIDs


class Peer:
    """The node that results are sent to.

    The calling AE title is that of the listener, if there is one: the archive sends answers to the
    address that it has for this title.

    Parameters
    ----------
    settings
        Address and certificates.

    Raises
    ------
    ConfigurationError
        If the address is missing, or a certificate cannot be read.
    """

    def __init__(self, settings: ArchiveSettings) -> None:
        if settings.send_to is None:
            raise ConfigurationError("The archive's DICOM address is missing: give --send-to.")
        self._title, self._host, self._port = parse_dicom_address(settings.send_to)
        own = settings.listen and parse_dicom_address(settings.listen).title
        self._own_title: Final = own or _OWN_TITLE
        # An association stays open while its answer is waited for.
        self._idle_s: Final = _TIMEOUT_S + settings.commitment_s
        self._tls: Final = sending_context(settings.send_certificate, settings.send_ca_file)

    @contextmanager
    def associated(
        self, contexts: Sequence[PresentationContext], handlers: Sequence[tuple[Any, Any]] = ()
    ) -> Iterator[Any]:
        """Open an association, of pynetdicom's class, and release it at the end.

        Parameters
        ----------
        contexts
            Presentation contexts to offer; Verification is offered as well.
        handlers
            Events of the association, and their handlers.

        Raises
        ------
        ArchiveUnreachableError
            If the archive does not answer, or refuses the association.
        """
        entity = AE(ae_title=self._own_title)
        entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = _TIMEOUT_S
        entity.network_timeout = self._idle_s
        try:
            association = entity.associate(
                self._host,
                self._port,
                [*contexts, build_context(VERIFICATION)],
                ae_title=self._title,
                evt_handlers=[*handlers],
                tls_args=None if self._tls is None else (self._tls, self._host),
            )
        except OSError as err:
            raise ArchiveUnreachableError("The archive's host is not known.") from err
        if association.is_rejected:
            raise ArchiveUnreachableError(
                "The archive refuses the association; it may not know this AE title."
            )
        if not association.is_established:
            raise ArchiveUnreachableError(
                "The archive does not answer at its DICOM port."
                if self._tls is None
                else "The archive does not answer by TLS at its DICOM port: it may offer none, or "
                "one side does not accept the other's certificate."
            )
        try:
            yield association
        finally:
            association.release()
