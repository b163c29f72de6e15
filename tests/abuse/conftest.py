"""Services under attack."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.abuse.images import IMAGE
from tests.abuse.service import SETTINGS, Abused
from tests.abuse.watchdog import MEASURED, summary
from tests.service_process import ServiceProcess

PROXIES = {
    name: "http://127.0.0.1:1"  # no server listens there
    for scheme in ("http_proxy", "https_proxy", "all_proxy")
    for name in (scheme, scheme.upper())
}
"""A URL that fetching must not follow."""

Start = Callable[..., Abused]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if MEASURED:
        terminalreporter.write_line(summary())


@pytest.fixture(scope="session")
def start_abused(
    tmp_path_factory: pytest.TempPathFactory, compiled_folder: Path
) -> Iterator[Start]:
    """Start services to attack; stop them after all tests."""
    started: list[ServiceProcess] = []

    def start(**settings: Any) -> Abused:
        folder = tmp_path_factory.mktemp("abused")
        temporary = folder / "tmp"
        temporary.mkdir()
        service = ServiceProcess(
            folder / "log",
            environment={"TMPDIR": str(temporary), **PROXIES},
            model=compiled_folder,
            **{**SETTINGS, **settings},
        )
        started.append(service)
        service.wait_ready()
        return Abused(service, temporary, IMAGE)

    yield start
    for service in started:
        service.kill()


@pytest.fixture(scope="session")
def guarded_service(start_abused: Start) -> Abused:
    """A service that fetches only from the public internet."""
    return start_abused()


@pytest.fixture(scope="session")
def local_service(start_abused: Start) -> Abused:
    """A service that also fetches from this machine."""
    return start_abused(fetch_private_addresses=True)


@pytest.fixture
def abused(guarded_service: Abused) -> Iterator[Abused]:
    """The service for one case, with the checks after it."""
    with guarded_service.case():
        yield guarded_service


@pytest.fixture
def abused_locally(local_service: Abused) -> Iterator[Abused]:
    """The service that fetches from this machine, for one case, with the checks after it."""
    with local_service.case():
        yield local_service
