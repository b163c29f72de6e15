"""The service as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mammoscope.client import Client

ROOT = Path(__file__).resolve().parents[2]

PATIENCE_S = 300
"""Seconds after which a process is taken to hang; what it waits for may be a busy machine."""


class ServiceProcess:
    """gunicorn as `make serve` starts it, on a free port."""

    def __init__(self, log: Path, **settings: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._log = log
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MAMMOSCOPE_")}
        inherited.pop("KERAS_BACKEND", None)
        chosen = {"drain_s": 0, "metrics_bind": "", **settings}
        own = {f"MAMMOSCOPE_{name.upper()}": str(value) for name, value in chosen.items()}
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "predict:app", "--config", "gunicorn.conf.py"],
                cwd=ROOT,
                env={**inherited, "MAMMOSCOPE_BIND": f"127.0.0.1:{self.port}", **own},
                stdout=stream,
                stderr=stream,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_ready(self) -> None:
        with Client(self.address) as client:
            client.wait_ready(PATIENCE_S)

    def terminate(self) -> int:
        """Ask it to stop; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@pytest.fixture(scope="session")
def released_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """The service with the model of the repository, ready."""
    service = ServiceProcess(tmp_path_factory.mktemp("service") / "log")
    try:
        service.wait_ready()
        yield service
    finally:
        service.terminate()


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[Callable[..., ServiceProcess]]:
    """Starts services with the settings given; stops them after the test."""
    started: list[ServiceProcess] = []

    def start(**settings: Any) -> ServiceProcess:
        started.append(ServiceProcess(tmp_path / f"service-{len(started)}.log", **settings))
        return started[-1]

    yield start
    for service in started:
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait(10)
