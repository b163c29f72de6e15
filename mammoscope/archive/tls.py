"""TLS for associations: PEM files to contexts, for both doors of DICOM's own protocol."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mammoscope.errors import ConfigurationError
from mammoscope.settings.service import ARCHIVE_PREFIX


def receiving_context(certificate: Path | None, ca_file: Path | None) -> ssl.SSLContext | None:
    """Return the context to receive with; None receives without TLS.

    Parameters
    ----------
    certificate
        Own certificate and its key (PEM, in one file); None for no TLS.
    ca_file
        Certificates (PEM) that sign those of senders; None asks senders for none.

    Raises
    ------
    ConfigurationError
        If a file cannot be read.
    """
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with _typed_errors("LISTEN"):
        context.load_cert_chain(certificate)
        if ca_file is not None:
            context.load_verify_locations(ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    return context


def sending_context(certificate: Path | None, ca_file: Path | None) -> ssl.SSLContext | None:
    """Return the context to send with; None, if neither file is given, sends without TLS.

    The archive's certificate must be valid for its host.

    Parameters
    ----------
    certificate
        Own certificate and its key (PEM, in one file), if the archive asks for one.
    ca_file
        Certificates (PEM) that sign the archive's; None for the usual ones.

    Raises
    ------
    ConfigurationError
        If a file cannot be read.
    """
    if certificate is None and ca_file is None:
        return None
    with _typed_errors("SEND"):
        context = ssl.create_default_context(cafile=ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate is not None:
            context.load_cert_chain(certificate)
    context.sslsocket_class = _ClosedSocket
    return context


class _ClosedSocket(ssl.SSLSocket):
    """A socket that is closed even if its other side is gone, which pynetdicom leaves open."""

    def shutdown(self, how: int) -> None:
        try:
            super().shutdown(how)
        except OSError:
            self.close()
            raise


@contextmanager
def _typed_errors(setting: str) -> Iterator[None]:
    try:
        yield
    except OSError as err:  # ssl.SSLError is one
        raise ConfigurationError(
            f"A file of {ARCHIVE_PREFIX}{setting}_CERTIFICATE or {ARCHIVE_PREFIX}{setting}_CA_FILE "
            "cannot be read; give PEM files, the key with its certificate."
        ) from err
