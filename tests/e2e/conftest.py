"""Services for tests over HTTP."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service_process import ServiceProcess


@pytest.fixture(scope="session")
def released_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """The service with the released model, ready."""
    service = ServiceProcess(tmp_path_factory.mktemp("service") / "log")
    try:
        service.wait_ready()
        yield service
    finally:
        service.terminate()


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[Callable[..., ServiceProcess]]:
    """Start services with given settings; stop them after the test."""
    started: list[ServiceProcess] = []

    def start(**settings: Any) -> ServiceProcess:
        started.append(ServiceProcess(tmp_path / f"service-{len(started)}.log", **settings))
        return started[-1]

    yield start
    for service in started:
        service.kill()
