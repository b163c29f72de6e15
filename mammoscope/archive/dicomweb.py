"""An archive's DICOMweb services: QIDO-RS, WADO-RS and STOW-RS (PS3.18)."""

import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from email.message import Message
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import requests
from dicomweb_client.web import DICOMwebClient
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
)
from requests.auth import AuthBase

from mammoscope.errors import (
    ArchiveRefusedError,
    ArchiveUnreachableError,
    ConfigurationError,
    ImageTooLargeError,
)
from mammoscope.settings.archive import ArchiveSettings

SOURCE_CLASSES: Final = frozenset(
    {
        DigitalMammographyXRayImageStorageForPresentation,
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
    }
)
"""SOP classes of images that are predicted. Results, secondary captures and other objects that are
made from images have other classes, so they never make work."""

MODALITY: Final = "MG"

_PAGE: Final = 500
"""Results asked for at once."""

_CONNECT_S: Final = 10.0
_READ_S: Final = 120.0
_CHUNK_BYTES: Final = 1 << 20
_NOT_NOW: Final = {
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
    HTTPStatus.INSUFFICIENT_STORAGE,
}
"""Statuses that say nothing about a study: waiting, or an administrator, helps."""

_Json = Mapping[str, Any]

logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)  # it logs patients' UIDs


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study with mammograms: its UID, and its number of instances if the archive tells it."""

    uid: str
    instances: int | None


@dataclass(frozen=True, slots=True)
class FoundInstance:
    """An instance of a study."""

    sop_class_uid: str
    series_uid: str
    uid: str
    modality: str

    @property
    def is_source(self) -> bool:
        """Whether this may be an image to predict."""
        return is_source(self.sop_class_uid, self.modality)


def is_source(sop_class_uid: str, modality: str) -> bool:
    """Whether an object may be an image to predict; an empty modality is unknown."""
    return sop_class_uid in SOURCE_CLASSES and modality in ("", MODALITY)


class DicomWeb:
    """A DICOMweb server.

    Every method raises ArchiveUnreachableError if the server does not answer or cannot work now,
    and ArchiveRefusedError if it refuses the request.

    Parameters
    ----------
    settings
        Address, credentials and certificates.
    max_bytes
        Maximum size of an image in bytes.

    Raises
    ------
    ConfigurationError
        If a file of the settings cannot be read.
    """

    def __init__(self, settings: ArchiveSettings, max_bytes: int) -> None:
        if settings.dicomweb is None:
            raise ConfigurationError("The archive's DICOMweb URL is missing: give --dicomweb URL.")
        self._url: Final = settings.dicomweb.rstrip("/")
        self._max_bytes: Final = max_bytes
        session = requests.Session()
        session.trust_env = False  # no proxy, no netrc
        if settings.ca_file is not None:
            session.verify = str(_existing(settings.ca_file, "CA_FILE"))
        if settings.client_certificate is not None:
            session.cert = str(_existing(settings.client_certificate, "CLIENT_CERTIFICATE"))
        session.auth = _credentials(settings)
        self._session: Final = session
        self._client: Final = DICOMwebClient(
            self._url, session, timeout=(_CONNECT_S, _READ_S), permissive_uid=True
        )
        self._client.set_http_retry_params(retry=False)  # the worker has its own way to wait

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def studies(self, first: date, last: date | None = None) -> Iterator[FoundStudy]:
        """Yield the studies with mammograms whose date is in a window.

        Parameters
        ----------
        first, last
            (0008,0020) Study Date, both included; None has no end.
        """
        window = f"{first:%Y%m%d}-" + (f"{last:%Y%m%d}" if last else "")
        pages = _pages(
            partial(
                self._client.search_for_studies,
                fields=["NumberOfStudyRelatedInstances"],
                search_filters={"StudyDate": window, "ModalitiesInStudy": MODALITY},
            )
        )
        for page in pages:
            with _typed_errors():
                found = [
                    FoundStudy(uid, int(count) if (count := _value(each, "00201208")) else None)
                    for each in page
                    if (uid := _value(each, "0020000D"))
                ]
            yield from found

    def instances(self, study_uid: str) -> list[FoundInstance]:
        """Return all instances of a study; none if the archive does not have it."""
        pages = _pages(
            partial(
                self._client.search_for_instances,
                quote(study_uid, safe=""),
                fields=["SOPClassUID", "SeriesInstanceUID", "Modality"],
            )
        )
        with _typed_errors():
            return [
                FoundInstance(
                    _value(each, "00080016"),
                    _value(each, "0020000E"),
                    _value(each, "00080018"),
                    _value(each, "00080060"),
                )
                for page in pages
                for each in page
            ]

    def retrieve(self, study_uid: str, instance: FoundInstance) -> bytes:
        """Return an instance as a DICOM file, in the transfer syntax in which it is stored.

        Raises
        ------
        ImageTooLargeError
            If it is larger than allowed.
        """
        study, series, uid = (
            quote(each, safe="") for each in (study_uid, instance.series_uid, instance.uid)
        )
        address = f"{self._url}/studies/{study}/series/{series}/instances/{uid}"
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        with (
            _typed_errors(),
            self._session.get(
                address, headers={"Accept": accept}, timeout=(_CONNECT_S, _READ_S), stream=True
            ) as response,
        ):
            response.raise_for_status()
            body = bytearray()
            for chunk in response.iter_content(_CHUNK_BYTES):
                body += chunk
                if len(body) > self._max_bytes:
                    raise ImageTooLargeError(
                        f"The archive sends an image of more than {self._max_bytes} bytes."
                    )
            return _only_part(bytes(body), response.headers.get("Content-Type", ""))

    def store(self, study_uid: str, files: Sequence[bytes]) -> None:
        """Send DICOM files of a study; the caller checks that the archive lists them."""
        boundary = secrets.token_hex(16)
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        for file in files:
            head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
            body = head + file + f"\r\n--{boundary}--\r\n".encode()
            with _typed_errors():
                response = self._session.post(
                    f"{self._url}/studies/{quote(study_uid, safe='')}",
                    data=body,
                    headers={"Content-Type": kind, "Accept": "application/dicom+json"},
                    timeout=(_CONNECT_S, _READ_S),
                )
                response.raise_for_status()


class _Bearer(AuthBase):
    """A token that is read for each request, because it is replaced while the worker runs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        try:
            token = _secret(self._path, "TOKEN_FILE")
        except ConfigurationError as err:
            raise ArchiveUnreachableError(str(err)) from err
        request.headers["Authorization"] = f"Bearer {token}"
        return request


def _credentials(settings: ArchiveSettings) -> Callable[..., Any] | tuple[str, str] | None:
    if settings.token_file is not None:
        return _Bearer(_existing(settings.token_file, "TOKEN_FILE"))
    if settings.username is not None and settings.password_file is not None:
        return settings.username, _secret(settings.password_file, "PASSWORD_FILE")
    return None


def _existing(path: Path, setting: str) -> Path:
    if not path.is_file():
        raise ConfigurationError(f"The file of MAMMOSCOPE_ARCHIVE_{setting} does not exist.")
    return path


def _secret(path: Path, setting: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigurationError(
            f"The file of MAMMOSCOPE_ARCHIVE_{setting} cannot be read."
        ) from err


def _pages(search: Callable[..., Sequence[_Json]]) -> Iterator[Sequence[_Json]]:
    """Yield the results of a search until there are no more.

    A server may send fewer than asked for at once, and one that knows no offset sends the same
    again.
    """
    offset, before = 0, None
    while True:
        with _typed_errors():
            page = search(limit=_PAGE, offset=offset)
        if not page or page == before:
            return
        yield page
        offset, before = offset + len(page), page


def _value(attributes: _Json, tag: str) -> str:
    """Return the first value of an attribute in the DICOM JSON model (PS3.18 F.2), or ''."""
    values = attributes.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _only_part(body: bytes, content_type: str) -> bytes:
    """Return the first part of a multipart body (RFC 2046 5.1), or the body if it has none."""
    header = Message()
    header["Content-Type"] = content_type
    if header.get_content_maintype() != "multipart":
        return body
    delimiter = b"\r\n--" + (header.get_boundary() or "").encode()
    # The first delimiter may be at the very beginning.
    _, _, rest = (b"\r\n" + body).partition(delimiter)
    _, line_end, part = rest.partition(b"\r\n")
    # A part without a head begins with the blank line.
    _, blank, content = (line_end + part).partition(b"\r\n\r\n")
    data, end, _ = content.partition(delimiter)
    if not blank or not end:
        raise ArchiveRefusedError("The archive sent an image that ends too early.")
    return data


@contextmanager
def _typed_errors() -> Iterator[None]:
    """Convert errors of HTTP, whose messages quote UIDs."""
    try:
        yield
    except requests.HTTPError as err:
        status = err.response.status_code
        if status in _NOT_NOW:
            raise ArchiveUnreachableError(
                f"The archive's DICOMweb server answers {status}: it cannot work now, or does not "
                "accept the credentials, which are set with a token file, or a user name and a "
                "password file."
            ) from None
        raise ArchiveRefusedError(
            f"The archive's DICOMweb server refuses a request with {status}"
            + (
                "; is the URL that of its DICOMweb services?"
                if status == HTTPStatus.NOT_FOUND
                else "."
            )
        ) from None
    except (requests.JSONDecodeError, ValueError, KeyError, TypeError, AttributeError):
        raise ArchiveRefusedError(
            "The archive's DICOMweb server answers something that is not DICOM JSON."
        ) from None
    except requests.RequestException:
        raise ArchiveUnreachableError("The archive's DICOMweb server does not answer.") from None
