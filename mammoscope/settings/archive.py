"""Settings of the archive worker."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, NamedTuple, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from mammoscope.errors import ConfigurationError
from mammoscope.settings.frozen import Frozen, PositiveFloat, PositiveInt, explain
from mammoscope.settings.service import (
    ARCHIVE_PREFIX,
    OperatingPointName,
    OptionalBind,
    listed,
)

_TITLE: Final = r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?"
_ADDRESS: Final = re.compile(
    rf"(?P<title>{_TITLE})@(?:(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):)?(?P<port>\d{{1,5}})"
)

_LAST_PORT: Final = 65_535


class DicomAddress(NamedTuple):
    """A DICOM node: AE title, host (empty for all addresses of this machine) and port."""

    title: str
    host: str
    port: int


def parse_dicom_address(given: str) -> DicomAddress:
    """Split ``AET@PORT`` or ``AET@HOST:PORT``.

    Raises
    ------
    ValueError
        If the text is anything else. An AE title has 1 to 16 printable characters and no
        backslash (PS3.5 6.2).
    """
    found = _ADDRESS.fullmatch(given)
    if found is None or not 0 < int(found["port"]) <= _LAST_PORT:
        raise ValueError("no AET@HOST:PORT")
    return DicomAddress(found["title"], (found["host"] or "").strip("[]"), int(found["port"]))


def _require_address(given: str) -> str:
    try:
        parse_dicom_address(given)
    except ValueError as err:
        raise PydanticCustomError(
            "address",
            "must be AET@PORT or AET@HOST:PORT, such as MAMMOSCOPE@11112, with a title of 1 to 16 "
            "characters and a port of 1 to 65535; got {given}",
            {"given": repr(given)},
        ) from err
    return given


def _require_url(given: str) -> str:
    if re.fullmatch(r"https?://[^\s@]+", given) is None:
        raise PydanticCustomError(  # not quoted: it may hold a password
            "address",
            "must be an address that begins with http:// or https://, without user and password, "
            f"which belong into {ARCHIVE_PREFIX}USERNAME and {ARCHIVE_PREFIX}PASSWORD_FILE",
        )
    return given


Address = Annotated[str, AfterValidator(_require_address)]
Titles = Annotated[
    tuple[Annotated[str, Field(pattern=rf"^{_TITLE}$")], ...], BeforeValidator(listed)
]


class ArchiveSettings(Frozen):
    """Settings of the archive worker, each from a variable ``MAMMOSCOPE_ARCHIVE_<NAME>``.

    Options of the command line take precedence.
    """

    state: str = "sqlite:///mammoscope-archive.db"
    """Database of the queue: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/DATABASE`."""

    key_file: Path | None = None
    """Secret key of at least 32 bytes that encrypts the state. None for a file beside an SQLite
    state, which is made at the first start; PostgreSQL needs one that all workers share."""

    dicomweb: Annotated[str, AfterValidator(_require_url)] | None = None
    """Base URL of the archive's DICOMweb services, like http://pacs.example.org/dicom-web."""

    token_file: Path | None = None
    """File with a bearer token for DICOMweb; read for each request."""

    username: str | None = None
    """User for basic authentication with DICOMweb."""

    password_file: Path | None = None
    """File with the password of that user."""

    ca_file: Path | None = None
    """Certificates (PEM) that sign the archive's certificate; None for the usual ones."""

    client_certificate: Path | None = None
    """Client certificate and its key (PEM, in one file) for DICOMweb."""

    listen: Address | None = None
    """AE title and port to receive images by C-STORE, like MAMMOSCOPE@11112; None for none."""

    calling_titles: Titles = ()
    """AE titles that may send, separated by commas; empty for any. AE titles are no
    authentication."""

    listen_certificate: Path | None = None
    """Certificate and its key (PEM, in one file) to receive by TLS; None receives without."""

    listen_ca_file: Path | None = None
    """Certificates (PEM) that sign those of senders; senders by TLS then need one."""

    spool: Path = Path("mammoscope-spool")
    """Folder for received images until their study is reported."""

    spool_bytes: PositiveInt = 20 * 1024**3
    """Maximum size of that folder in bytes; beyond it, images are refused for the time being."""

    send_to: Address | None = None
    """AE title, host and port that results are sent to by C-STORE; None for STOW-RS."""

    send_certificate: Path | None = None
    """Client certificate and its key (PEM, in one file) to send by TLS."""

    send_ca_file: Path | None = None
    """Certificates (PEM) that sign that of the archive, which must be valid for its host; None for
    the usual ones. Without this and `send_certificate`, results are sent without TLS."""

    commitment_s: Annotated[float, Field(ge=0.0)] = 0.0
    """Seconds to wait for the archive's Storage Commitment to results sent by C-STORE; 0 does not
    ask for it."""

    quiet_s: Annotated[float, Field(ge=0.0)] = 60.0
    """Seconds without a new image after which a study counts as complete."""

    overlap_days: Annotated[int, Field(ge=0)] = 7
    """Days before today whose studies are asked for again and again: studies arrive late, and QIDO
    cannot ask for what is new."""

    poll_s: PositiveFloat = 60.0
    """Seconds between two searches."""

    lease_s: PositiveFloat = 60.0
    """Seconds after which another worker takes over a study whose worker has ended."""

    max_attempts: PositiveInt = 5
    """Number of attempts after which a study is listed as failed. Waiting for an archive that
    cannot be reached does not count."""

    backoff_s: PositiveFloat = 5.0
    """Seconds before the second attempt, doubled for each further one, up to an hour."""

    unreachable_s: PositiveFloat = 900.0
    """With --until-idle: seconds without an archive after which the worker gives up; what is left
    stays in the queue."""

    operating_point: OperatingPointName = "default"
    """Operating point of the card that decides the label."""

    metrics_bind: OptionalBind = "127.0.0.1:9699"
    """Address and port for Prometheus; empty for none."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.username is not None and self.password_file is None:
            raise _together(f"{ARCHIVE_PREFIX}USERNAME needs {ARCHIVE_PREFIX}PASSWORD_FILE")
        if self.username is not None and self.token_file is not None:
            raise _together(
                f"{ARCHIVE_PREFIX}USERNAME and {ARCHIVE_PREFIX}TOKEN_FILE exclude each other"
            )
        if self.listen_ca_file is not None and self.listen_certificate is None:
            raise _together(
                f"{ARCHIVE_PREFIX}LISTEN_CA_FILE needs {ARCHIVE_PREFIX}LISTEN_CERTIFICATE"
            )
        if self.send_to is not None and not parse_dicom_address(self.send_to).host:
            raise _together("--send-to needs a host, as in PACS@pacs.example.org:104")
        return self

    @classmethod
    def from_environment(
        cls, options: Mapping[str, object], environment: Mapping[str, str] | None = None
    ) -> Self:
        """Read the settings from `environment`; None reads that of the process.

        Parameters
        ----------
        options
            Settings from the command line, which take precedence; those that are None do not count.
        environment
            Variables by name.

        Raises
        ------
        ConfigurationError
            If a ``MAMMOSCOPE_ARCHIVE_`` variable is unknown or has an invalid value.
        """
        source = os.environ if environment is None else environment
        written = {
            key.removeprefix(ARCHIVE_PREFIX).lower(): key
            for key in source
            if key.startswith(ARCHIVE_PREFIX)
        }
        values: dict[str, object] = {name: source[key] for name, key in written.items()}
        for name, value in options.items():
            if value is not None:
                values[name] = value
                written[name] = f"--{name.replace('_', '-')}"
        try:
            return cls.model_validate(values)
        except ValidationError as err:
            raise explain(err, "The archive worker's settings", written) from err


def _together(message: str) -> PydanticCustomError:
    return PydanticCustomError("together", "{message}", {"message": message})


def require_a_door(settings: ArchiveSettings) -> None:
    """Refuse settings with which a worker would get no study or could store no result.

    Raises
    ------
    ConfigurationError
        If that is so.
    """
    if settings.dicomweb is None and settings.listen is None:
        raise ConfigurationError(
            "The worker gets no studies: give --dicomweb URL, --listen AET@PORT or both."
        )
    if settings.dicomweb is None and settings.send_to is None:
        raise ConfigurationError(
            "The worker cannot store results: give --dicomweb URL or --send-to AET@HOST:PORT."
        )
    about_sending = settings.send_certificate or settings.send_ca_file or settings.commitment_s
    if about_sending and settings.send_to is None:
        raise ConfigurationError(
            f"{ARCHIVE_PREFIX}SEND_CERTIFICATE, {ARCHIVE_PREFIX}SEND_CA_FILE and "
            f"{ARCHIVE_PREFIX}COMMITMENT_S are about C-STORE: give --send-to AET@HOST:PORT as well."
        )
