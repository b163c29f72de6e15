"""A running service that is checked after each case: it must answer and keep nothing."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import requests

from tests.service_process import PATIENCE_S, ServiceProcess

MB: Final = 1024 * 1024

CAP: Final = 4_000_000
"""Maximum image size of the attacked services, in bytes."""

SETTINGS: Final[dict[str, Any]] = {
    "max_image_bytes": CAP,
    "request_timeout_s": 6,
    "fetch_timeout_s": 2,
    "request_threads": 2,
    "queue_size": 6,
}

PLANTED: Final = "DOE^JANE"
"""Represents identifying data: must never reappear after it was sent."""

MOST_AT_A_TIME: Final = 250 * MB
"""Memory that a case may take while it lasts: some bodies at the cap and one largest image."""

MOST_KEPT: Final = 80 * MB
"""Memory that may be more than at the beginning after any case: what allocators keep for each of
some threads, once. Tens of cases that each kept an image would be over it."""


class Abused:
    """A service under attack, and its state before.

    Parameters
    ----------
    service
        Ready, and used by nobody else.
    temporary
        Its temporary folder.
    image
        An image that is predicted.
    """

    def __init__(self, service: ServiceProcess, temporary: Path, image: bytes) -> None:
        self.service: Final = service
        self.port: Final = service.port
        self.image: Final = image
        self._temporary = temporary
        for _ in range(10):
            self.well = self.ask(data=image, headers={"Content-Type": "image/png"}).json()
        self._memory = self.service.memory()

    def ask(
        self, path: str = "/predict", method: str = "POST", **content: Any
    ) -> requests.Response:
        """Send a request."""
        return requests.request(
            method, f"{self.service.address}{path}", timeout=PATIENCE_S, **content
        )

    @contextmanager
    def case(self) -> Iterator[None]:
        """Check the service after the case."""
        Path(f"/proc/{self.service.worker()}/clear_refs").write_text("5")  # resets the peak
        seen = len(self.service.log)
        yield
        answer = self.ask(data=self.image, headers={"Content-Type": "image/png"})
        assert answer.status_code == 200, answer.text
        assert answer.json() == self.well, "the next good request is answered as ever"
        assert self.service.memory("VmHWM") - self._memory < MOST_AT_A_TIME
        assert self.service.memory() - self._memory < MOST_KEPT
        assert list(self._temporary.iterdir()) == []
        written = self.service.log[seen:]
        assert PLANTED not in written
        assert "127.0.0.1" not in written
        for line in written.splitlines():
            event = json.loads(line)["event"]
            assert event in {"request", "malformed_request"}, line


def assert_refused(answer: requests.Response, status: int, code: str) -> dict[str, Any]:
    """Check that a refusal is well-formed; returns the problem."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code, problem
    assert problem["status"] == status
    assert problem["type"].endswith(code)
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    for secret in (PLANTED, "Traceback", "mammoscope/", "127.0.0.1"):
        assert secret not in answer.text + str(answer.headers)
    return problem
