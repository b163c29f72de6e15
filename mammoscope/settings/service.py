"""Settings of the service, and limits on images."""

import os
import warnings
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, IPvAnyNetwork, ValidationError
from pydantic_core import PydanticCustomError

from mammoscope.errors import ConfigurationError
from mammoscope.settings.frozen import Frozen, PositiveFloat, PositiveInt, explain
from mammoscope.system.cpus import available_processors
from mammoscope.system.listening import parse_bind

ENVIRONMENT_PREFIX: Final = "MAMMOSCOPE_"
ARCHIVE_PREFIX: Final = f"{ENVIRONMENT_PREFIX}ARCHIVE_"
"""Variables of `mammoscope.settings.archive`, which the service ignores."""

_DEPRECATED: Final = {"max_study_pictures": "max_study_images"}
"""Deprecated names of settings, which work for one version."""

OperatingPointName = Literal["default", "high_sensitivity", "high_specificity"]
PerformanceMode = Literal["latency", "throughput"]


def listed(given: object) -> object:
    """Split text at commas; return anything else unchanged."""
    return [part.strip() for part in given.split(",")] if isinstance(given, str) else given


HostPattern = Annotated[str, Field(pattern=r"^(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*$")]
"""A host name in lower case and ASCII; ``*.`` before a name matches all hosts below it."""

HostPatterns = Annotated[tuple[HostPattern, ...], BeforeValidator(listed)]


Networks = Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(listed)]


def _require_bind(given: str) -> str:
    try:
        parse_bind(given)
    except ValueError as err:
        raise PydanticCustomError(
            "bind", "must be HOST:PORT, such as 127.0.0.1:9797; got {given}", {"given": repr(given)}
        ) from err
    return given


def _require_bind_or_none(given: str) -> str:
    return _require_bind(given) if given else given


OptionalBind = Annotated[str, AfterValidator(_require_bind_or_none)]
"""``HOST:PORT``, or empty for no listener."""


class ReadingLimits(Frozen):
    """Maximum image size, checked before any pixel is decoded.

    The defaults leave a margin above the largest mammography detectors in use (about 3,600 x 4,800
    pixels).
    """

    max_image_bytes: PositiveInt = 64 * 1024 * 1024
    """Maximum size of an encoded image in bytes."""

    max_pixels: PositiveInt = 50_000_000
    """Maximum width x height in pixels."""

    max_dimension: PositiveInt = 16_384
    """Maximum width or height in pixels."""


class ServiceSettings(ReadingLimits):
    """Settings of the service, each from an environment variable ``MAMMOSCOPE_<NAME>``."""

    model: Path | None = None
    """Model folder, or the .keras file inside it; None for the released model, which is part of
    Mammoscope. Commands use it too."""

    cache: Path | None = None
    """Folder for compiled networks; None for `mammoscope` in `$XDG_CACHE_HOME` or `~/.cache`.
    Commands use it too."""

    operating_point: OperatingPointName = "default"
    """Operating point of the card that decides the label."""

    age_from_dicom: bool = False
    """Whether to use the age in a DICOM file for the probability, if the request gives none."""

    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of the engine; 0 means one per processor of the CPU quota."""

    performance_mode: PerformanceMode = "throughput"
    """Whether all threads of the engine share one image (latency), or each computes its own, which
    answers the most images in a given time (throughput)."""

    request_threads: Annotated[int, Field(ge=0)] = 0
    """Maximum number of requests handled at once, each in a thread; 0 means one more than
    processors of the CPU quota. More would only take turns on the processors."""

    queue_size: Annotated[int, Field(ge=0)] = 32
    """Maximum number of requests that wait in addition; more are refused with 429."""

    full_queue_grace_s: PositiveFloat = 30.0
    """Seconds without a free slot after which the service reports that it is not ready."""

    max_waiting_bytes: PositiveInt = 512 * 1024 * 1024
    """Maximum total size in bytes of the bodies of these requests and the images fetched for them;
    a request beyond it is refused with 429."""

    request_timeout_s: PositiveFloat = 60.0
    """Maximum time in seconds from the first byte of a request to the last byte of its answer."""

    max_study_images: Annotated[int, Field(gt=0, le=100)] = 16
    """Maximum number of images of one study."""

    max_study_bytes: PositiveInt = 256 * 1024 * 1024
    """Maximum number of bytes of all images of one study."""

    decoding_memory_bytes: PositiveInt = 1024 * 1024 * 1024
    """Maximum memory for reading one image, beyond what a reading process needs itself."""

    decoding_time_s: PositiveInt = 10
    """Maximum processor time in seconds for reading one image; elapsed time may be twice that."""

    api_keys_file: Path | None = None
    """File of API keys, read again when it changes. Every request then needs a key, except for
    probes, for the page itself and for the documentation of the API."""

    key_file_grace_s: Annotated[float, Field(ge=0.0)] = 300.0
    """Seconds for which the last keys stay valid while their file cannot be read. After that, what
    needs a key is refused with 503, and the service is not ready."""

    rate_limit_per_minute: Annotated[int, Field(ge=0)] = 0
    """Maximum number of requests per API key and minute; 0 means no limit."""

    bind: Annotated[str, AfterValidator(_require_bind)] = "0.0.0.0:9696"
    """Address and port to listen on. 127.0.0.1 admits only this machine, 0.0.0.0 the network."""

    drain_s: Annotated[float, Field(ge=0.0)] = 3.0
    """Seconds after SIGTERM during which the service reports that it is not ready, so that load
    balancers stop sending requests, and still answers requests."""

    metrics_bind: OptionalBind = "127.0.0.1:9697"
    """Address and port for Prometheus; empty for none. Do not expose it publicly."""

    probe_bind: OptionalBind = "0.0.0.0:9698"
    """Address and port for probes only, which clients cannot keep busy; empty for none."""

    max_connections_per_client: Annotated[int, Field(ge=0)] = 0
    """Maximum number of connections per address; 0 means no limit. Behind a proxy, all clients
    share its address."""

    trusted_proxies: Networks | None = None
    """Addresses and networks of proxies, separated by commas, that may have any number of
    connections, and whose X-Forwarded-Prefix names the path that the service is below."""

    traces_endpoint: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    """URL for OpenTelemetry traces, OTLP over HTTP, like http://collector:4318/v1/traces; needs the
    extra tracing."""

    graceful_timeout_s: PositiveInt = 30
    """Seconds for requests in flight to finish after that."""

    url_fetching: bool = True
    """Whether requests may give images by URL."""

    fetch_hosts: HostPatterns | None = None
    """Hosts allowed in URLs and their redirects, separated by commas; *.example.org allows all
    subdomains. None allows any host."""

    fetch_timeout_s: PositiveFloat = 10.0
    """Seconds for fetching one image, including redirects."""

    fetch_max_redirects: Annotated[int, Field(ge=0, le=10)] = 3
    """Maximum number of redirects; each is checked like the first URL."""

    fetch_private_addresses: bool = False
    """Whether URLs may point into private networks. Only for tests on one machine."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum severity of logged events."""

    @property
    def concurrency(self) -> int:
        """Maximum number of requests handled at once."""
        return self.request_threads or available_processors() + 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings from `environment`; None reads that of the process.

        Raises
        ------
        ConfigurationError
            If a ``MAMMOSCOPE_`` variable is unknown or has an invalid value.

        Warns
        -----
        FutureWarning
            If a variable has a deprecated name; the new name takes precedence.
        """
        source = os.environ if environment is None else environment
        written = {
            key.removeprefix(ENVIRONMENT_PREFIX).lower(): key
            for key in source
            if key.startswith(ENVIRONMENT_PREFIX) and not key.startswith(ARCHIVE_PREFIX)
        }
        values = {name: source[key] for name, key in written.items()}
        for old, new in _DEPRECATED.items():
            if old in values:
                prefix = ENVIRONMENT_PREFIX
                warnings.warn(
                    f"{prefix}{old.upper()} is deprecated; use {prefix}{new.upper()}.",
                    FutureWarning,
                    stacklevel=2,
                )
                old_value = values.pop(old)
                values.setdefault(new, old_value)
                written.setdefault(new, written[old])
        _refuse_unknown((written[name] for name in values if name not in cls.model_fields), cls)
        try:
            return cls.model_validate(values)
        except ValidationError as err:
            raise explain(err, "The environment", written) from err


def _refuse_unknown(unknown: Iterable[str], settings: type[ServiceSettings]) -> None:
    """Raise ConfigurationError for the first of the variables, which are no settings."""
    key = next(iter(unknown), None)
    if key is None:
        return
    name = key.removeprefix(ENVIRONMENT_PREFIX).lower()
    near = get_close_matches(name, settings.model_fields, n=1)
    raise ConfigurationError(
        f"Unknown setting {key} in the environment; "
        + (f"did you mean {ENVIRONMENT_PREFIX}{near[0].upper()}? " if near else "")
        + "`mammoscope serve --help` lists the settings."
    )


def model_path(environment: Mapping[str, str] | None = None) -> Path:
    """Return the model folder or .keras file of the setting ``model``, else the released model.

    Parameters
    ----------
    environment
        None reads that of the process.
    """
    source = os.environ if environment is None else environment
    given = source.get(f"{ENVIRONMENT_PREFIX}MODEL")
    return Path(given) if given else released_model()


def released_model() -> Path:
    """Return the released model's folder: package data, or a link to ``model/`` in a checkout."""
    return Path(str(files("mammoscope"))) / "_model"


def cache_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder for compiled networks, which need not exist yet.

    This is the setting ``cache``, or ``mammoscope`` in the user's cache folder.

    Parameters
    ----------
    environment
        None reads that of the process.

    Raises
    ------
    FileNotFoundError
        If no folder is set and the user has no home folder.

    References
    ----------
    XDG Base Directory Specification 0.8, "Environment variables".
    """
    source = os.environ if environment is None else environment
    if given := source.get(f"{ENVIRONMENT_PREFIX}CACHE"):
        return Path(given)
    users = Path(source.get("XDG_CACHE_HOME", ""))
    if not users.is_absolute():
        try:
            users = Path.home() / ".cache"
        except RuntimeError as err:
            raise FileNotFoundError(0, "the user has no home folder") from err
    return users / "mammoscope"
