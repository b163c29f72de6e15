"""The service under more load than it can take, and when it is told to stop or killed."""

import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

PATIENCE_S = 300
TURNS, QUEUE = 1, 1

StartService = Callable[..., Any]


@pytest.fixture
def picture(phantom_folder: Path) -> bytes:
    return next(phantom_folder.glob("*.jpg")).read_bytes()


def post(service: Any, picture: bytes) -> requests.Response:
    return requests.post(
        f"{service.address}/predict",
        data=picture,
        headers={"Content-Type": "image/jpeg"},
        timeout=PATIENCE_S,
    )


class Crowd:
    """Clients that ask again and again, each on new connections, until they are stopped."""

    def __init__(self, service: Any, picture: bytes, clients: int) -> None:
        self.statuses: Counter[int] = Counter()
        self.probabilities: set[float] = set()
        self.dropped: list[requests.RequestException] = []
        self.refused_connections = 0
        self._service, self._picture = service, picture
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                answer = post(self._service, self._picture)
            except requests.ConnectionError as err:
                if "refused" in str(err):  # nobody listens any more: it was never accepted
                    self.refused_connections += 1
                    return
                self.dropped.append(err)
                return
            self.statuses[answer.status_code] += 1
            if answer.status_code == 200:
                self.probabilities.add(answer.json()["probability"])
            if answer.status_code == 429:
                assert int(answer.headers["Retry-After"]) >= 1
                time.sleep(0.05)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)


def test_ten_times_the_capacity(
    start_service: StartService, artifact_folder: Path, picture: bytes
) -> None:
    service = start_service(model=artifact_folder, request_threads=TURNS, queue_size=QUEUE)
    service.wait_ready()
    alone = post(service, picture).json()
    crowd = Crowd(service, picture, clients=10 * (TURNS + QUEUE))
    try:
        probes = []
        end = time.monotonic() + 5
        while time.monotonic() < end or min(crowd.statuses[200], crowd.statuses[429]) < 10:
            began = time.monotonic()
            assert requests.get(f"{service.address}/healthz", timeout=PATIENCE_S).ok
            assert requests.get(f"{service.address}/readyz", timeout=PATIENCE_S).ok
            probes.append(time.monotonic() - began)
            time.sleep(0.1)
            assert time.monotonic() < end + PATIENCE_S
    finally:
        crowd.stop()
    assert set(crowd.statuses) == {200, 429}, crowd.statuses
    assert not crowd.dropped
    assert max(probes) < 5, "a probe that takes this long counts as failed"
    assert crowd.probabilities == {alone["probability"]}
    assert post(service, picture).json() == alone


def test_no_request_is_lost_at_sigterm_under_load(
    start_service: StartService, artifact_folder: Path, picture: bytes
) -> None:
    service = start_service(model=artifact_folder, drain_s=2, graceful_timeout_s=PATIENCE_S)
    service.wait_ready()
    crowd = Crowd(service, picture, clients=6)
    try:
        while crowd.statuses[200] < 5:
            time.sleep(0.05)
        service.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + 1.5
        fell = False
        while not fell and time.monotonic() < end:
            answer = requests.get(f"{service.address}/readyz", timeout=PATIENCE_S)
            fell = answer.status_code == 503 and answer.json()["code"] == "not_ready"
        assert fell, "readiness must fall while the service still answers"
        assert service.process.wait(PATIENCE_S) == 0
    finally:
        crowd.stop()
    assert not crowd.dropped, crowd.dropped[:1]
    assert set(crowd.statuses) == {200}, crowd.statuses
    assert crowd.refused_connections > 0


def worker_id(service: Any) -> int:
    master = service.process.pid
    (worker,) = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return int(worker)


def test_a_killed_worker_is_replaced(
    start_service: StartService, artifact_folder: Path, picture: bytes
) -> None:
    service = start_service(model=artifact_folder)
    service.wait_ready()
    killed = worker_id(service)
    os.kill(killed, signal.SIGKILL)
    service.wait_ready()
    assert worker_id(service) != killed
    assert post(service, picture).status_code == 200


def slow_heads(port: int, count: int) -> Iterator[socket.socket]:
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        yield connection


def test_clients_that_never_finish_asking_are_hung_up_on(
    start_service: StartService, artifact_folder: Path, picture: bytes
) -> None:
    service = start_service(model=artifact_folder)
    service.wait_ready()
    connections = list(slow_heads(service.port, 100))
    try:
        for connection in connections:
            assert connection.recv(1000) == b""
    finally:
        for connection in connections:
            connection.close()
    assert post(service, picture).status_code == 200
