"""Good and bad requests for a while: answers stay the same, and memory does not grow.

``make soak`` runs it for ten minutes with the released model; in `make test` it takes seconds.
"""

import os
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.service_process import PATIENCE_S

SECONDS = float(os.environ.get("SOAK_SECONDS", "8"))
MODEL = os.environ.get("SOAK_MODEL")
"""Model folder; by default a model with a single layer."""

CLIENTS = 4
WARM_UP = 40
"""Requests before the first look at memory: allocators take some for each thread."""

MB = 1024 * 1024
MOST_GROWN = 25 * MB
"""What memory may grow from the second third to the last. A tenth of the images sent in ten
minutes on two processors would be gigabytes."""


class Look:
    """Resources held by the worker at one time."""

    def __init__(self, service: Any) -> None:
        process = Path(f"/proc/{service.worker()}")
        self.memory = service.memory()
        self.files = len(list((process / "fd").iterdir()))
        self.threads = len(list((process / "task").iterdir()))


class Mixture:
    """Clients that alternately send good and bad requests."""

    def __init__(self, service: Any, images: list[bytes]) -> None:
        self.statuses: Counter[int] = Counter()
        self.answers: dict[int, set[float]] = {number: set() for number in range(len(images))}
        self.failures: list[BaseException] = []
        self._service, self._images = service, images
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _work(self, seed: int) -> None:
        try:
            with requests.Session() as session:
                turn = seed
                while not self._stop.is_set():
                    self._ask(session, turn)
                    turn += 1
        except BaseException as err:  # noqa: BLE001 told by the test
            self.failures.append(err)

    def _ask(self, session: requests.Session, turn: int) -> None:
        number = turn % len(self._images)
        image = self._images[number]
        bad = {3: image[: len(image) // 2], 5: b"<html>", 7: b""}.get(turn % 9)
        path = "/predict?explain=true" if turn % 11 == 4 else "/predict"
        answer = session.post(
            f"{self._service.address}{path}",
            files={"file": ("a", image if bad is None else bad)},
            timeout=PATIENCE_S,
        )
        self.statuses[answer.status_code] += 1
        assert (answer.status_code == 200) == (bad is None), answer.text
        if bad is None:
            self.answers[number].add(answer.json()["probability"])

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)


@pytest.mark.abuse("load")
@pytest.mark.timeout(SECONDS + 2 * PATIENCE_S)
def test_soak_keeps_answers_and_memory_stable(
    start_service: Callable[..., Any],
    compiled_folder: Path,
    phantom_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    service = start_service(
        model=Path(MODEL).resolve() if MODEL else compiled_folder,
        environment={"TMPDIR": str(temporary)},
    )
    service.wait_ready()
    images = [path.read_bytes() for path in sorted(phantom_folder.glob("*.[jp]*g"))]
    mixture = Mixture(service, images)
    looks: list[Look] = []
    try:
        while mixture.statuses.total() < WARM_UP and not mixture.failures:
            time.sleep(0.05)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and not mixture.failures:
            looks.append(Look(service))
            time.sleep(min(1.0, SECONDS / 30))
    finally:
        mixture.stop()
    assert mixture.failures == []
    third = len(looks) // 3
    middle, last = (
        statistics.median(look.memory for look in part)
        for part in (looks[third : 2 * third], looks[-third:])
    )
    with capsys.disabled():
        sys.stdout.write(
            f" {mixture.statuses.total()} requests in {SECONDS:.0f} s, {dict(mixture.statuses)};"
            f" memory {middle / MB:.0f} MB, then {last / MB:.0f} MB;"
            f" at most {max(look.files for look in looks)} files,"
            f" {max(look.threads for look in looks)} threads "
        )
    assert last - middle < MOST_GROWN
    assert max(look.files for look in looks[-third:]) <= looks[0].files + 2 * CLIENTS
    assert max(look.threads for look in looks[-third:]) <= looks[0].threads + 2 * CLIENTS
    assert {len(found) for found in mixture.answers.values()} == {1}
    assert list(temporary.iterdir()) == []
    assert service.terminate() == 0
