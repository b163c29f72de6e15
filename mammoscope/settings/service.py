"""Settings of the service, and the limits of what it reads."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, IPvAnyNetwork, ValidationError

from mammoscope.settings.frozen import Frozen, PositiveFloat, PositiveInt, explain

ENVIRONMENT_PREFIX: Final = "MAMMOSCOPE_"

OperatingPointName = Literal["default", "high_sensitivity", "high_specificity"]
PerformanceMode = Literal["latency", "throughput"]


def _listed(given: object) -> object:
    """Parts of a text that are separated by commas; anything else as it is."""
    return [part.strip() for part in given.split(",")] if isinstance(given, str) else given


HostPattern = Annotated[str, Field(pattern=r"^(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*$")]
"""A host's name in lower case and ASCII, or ``*.`` and the name that those meant end with."""

HostPatterns = Annotated[tuple[HostPattern, ...], BeforeValidator(_listed)]


Networks = Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(_listed)]


class ReadingLimits(Frozen):
    """What an image may be at most; checked before any pixel is decoded.

    The defaults admit the largest mammography detectors in use (about 3,600 x 4,800 pixels) with
    room to spare.
    """

    max_image_bytes: PositiveInt = Field(
        default=64 * 1024 * 1024, description="Largest encoded image in bytes."
    )
    max_pixels: PositiveInt = Field(
        default=50_000_000, description="Largest width x height in pixels."
    )
    max_dimension: PositiveInt = Field(
        default=16_384, description="Largest width or height in pixels."
    )


class ServiceSettings(ReadingLimits):
    """Settings of the service, each from an environment variable ``MAMMOSCOPE_<NAME>``."""

    model: Path = Field(default=Path("model"), description="Model folder, or a .keras file in one.")
    operating_point: OperatingPointName = Field(
        default="default", description="Operating point of the card that decides the label."
    )
    age_from_dicom: bool = Field(
        default=False,
        description=(
            "Whether the age that a DICOM file gives enters the probability where the request "
            "gives none."
        ),
    )
    threads: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Threads of the engine; 0 means all processors of the quota."
    )
    performance_mode: PerformanceMode = Field(
        default="throughput",
        description=(
            "Whether the engine's threads share one image (latency) or each takes its own, so "
            "that most images are answered in a given time (throughput)."
        ),
    )
    request_threads: PositiveInt = Field(
        default=8,
        description="Requests whose images are read and judged at a time, each by a thread.",
    )
    queue_size: Annotated[int, Field(ge=0)] = Field(
        default=32,
        description="Requests that may wait beside those; any more are refused with 429.",
    )
    max_waiting_bytes: PositiveInt = Field(
        default=512 * 1024 * 1024,
        description=(
            "Bytes that the bodies of all these requests, and the images fetched for them, may "
            "have together; what goes beyond is refused with 429."
        ),
    )
    request_timeout_s: PositiveFloat = Field(
        default=60.0,
        description="Seconds from the first byte of a request to the last of its answer.",
    )
    max_study_pictures: Annotated[int, Field(gt=0, le=100)] = Field(
        default=16, description="Images of one study, sent together, at most."
    )
    max_study_bytes: PositiveInt = Field(
        default=256 * 1024 * 1024, description="Bytes of all images of one study, at most."
    )
    api_keys_file: Path | None = Field(
        default=None,
        description=(
            "File of API keys, read again when it changes; all requests but probes need one."
        ),
    )
    key_file_grace_s: Annotated[float, Field(ge=0.0)] = Field(
        default=300.0,
        description=(
            "Seconds for which the keys read last are valid though their file cannot be read; "
            "then all requests but probes of life are refused with 503."
        ),
    )
    rate_limit_per_minute: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Requests that each API key may make a minute; 0 means any number."
    )
    bind: str = Field(default="0.0.0.0:9696", description="Address and port to listen on.")
    drain_s: Annotated[float, Field(ge=0.0)] = Field(
        default=3.0,
        description=(
            "Seconds after SIGTERM in which the service says that it is not ready, so that "
            "balancers turn away, and still answers."
        ),
    )
    metrics_bind: Annotated[str, Field(pattern=r"^(.+:\d{1,5})?$")] = Field(
        default="127.0.0.1:9697",
        description="Address and port that Prometheus asks; empty for none. Never public.",
    )
    probe_bind: Annotated[str, Field(pattern=r"^(.+:\d{1,5})?$")] = Field(
        default="0.0.0.0:9698",
        description=(
            "Address and port for probes alone, which clients cannot keep busy; empty for none."
        ),
    )
    max_connections_per_client: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description=(
            "Connections that one address may have at a time; 0 means any number. Behind a proxy "
            "all clients share its address."
        ),
    )
    trusted_proxies: Networks | None = Field(
        default=None,
        description=(
            "Addresses and networks of proxies, separated by commas, that may have any number of "
            "connections."
        ),
    )
    traces_endpoint: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = Field(
        default=None,
        description=(
            "URL that OpenTelemetry traces are sent to, OTLP over HTTP, like "
            "http://collector:4318/v1/traces; needs the packages of the category tracing."
        ),
    )
    graceful_timeout_s: PositiveInt = Field(
        default=30, description="Seconds that requests in flight get after that."
    )
    url_fetching: bool = Field(default=True, description="Whether images may be given by URL.")
    fetch_hosts: HostPatterns | None = Field(
        default=None,
        description=(
            "Hosts that URLs and their redirects may name, separated by commas; *.example.org for "
            "all below one. None for any."
        ),
    )
    fetch_timeout_s: PositiveFloat = Field(
        default=10.0, description="Seconds for fetching one image, all redirects included."
    )
    fetch_max_redirects: Annotated[int, Field(ge=0, le=10)] = Field(
        default=3, description="Redirects followed, each checked like the first URL."
    )
    fetch_private_addresses: bool = Field(
        default=False,
        description="Whether URLs may point into private networks. Only for tests on one machine.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe event that is logged."
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings from `environment` (the process's own where None).

        Raises
        ------
        ConfigurationError
            If a ``MAMMOSCOPE_`` variable is unknown or holds a value that is not allowed.
        """
        source = os.environ if environment is None else environment
        values = {
            key.removeprefix(ENVIRONMENT_PREFIX).lower(): value
            for key, value in source.items()
            if key.startswith(ENVIRONMENT_PREFIX)
        }
        try:
            return cls.model_validate(values)
        except ValidationError as err:
            raise explain(err, "The environment") from err
