"""The service under overload, and when it is stopped or killed."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests.service_process import PATIENCE_S, ServiceProcess

TURNS, QUEUE = 1, 1

StartService = Callable[..., Any]


@pytest.fixture
def image(phantom_folder: Path) -> bytes:
    return next(phantom_folder.glob("*.jpg")).read_bytes()


def post(service: Any, image: bytes) -> requests.Response:
    return requests.post(
        f"{service.address}/predict",
        data=image,
        headers={"Content-Type": "image/jpeg"},
        timeout=PATIENCE_S,
    )


def timed(service: Any, image: bytes) -> float:
    began = time.monotonic()
    assert post(service, image).status_code == 200
    return time.monotonic() - began


class Crowd:
    """Clients that send requests repeatedly, each on a new connection, until stopped."""

    def __init__(self, service: Any, image: bytes, clients: int) -> None:
        self.statuses: Counter[int] = Counter()
        self.probabilities: set[float] = set()
        self.seconds: dict[int, list[float]] = defaultdict(list)
        self.dropped: list[requests.RequestException] = []
        self.refused_connections = 0
        self._service, self._image = service, image
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                answer = post(self._service, self._image)
            except requests.ConnectionError as err:
                if "refused" in str(err):  # the port is closed: the request was never accepted
                    self.refused_connections += 1
                    return
                self.dropped.append(err)
                return
            self.statuses[answer.status_code] += 1
            self.seconds[answer.status_code].append(time.monotonic() - began)
            if answer.status_code == 200:
                self.probabilities.add(answer.json()["probability"])
            if answer.status_code == 429:
                assert int(answer.headers["Retry-After"]) >= 1
                time.sleep(0.05)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)


@pytest.mark.abuse("load")
def test_ten_times_the_capacity_is_survived(
    start_service: StartService,
    compiled_folder: Path,
    image: bytes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    service = start_service(model=compiled_folder, request_threads=TURNS, queue_size=QUEUE)
    service.wait_ready()
    alone = post(service, image).json()
    alone_s = max(timed(service, image) for _ in range(5))
    crowd = Crowd(service, image, clients=10 * (TURNS + QUEUE))
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
    assert post(service, image).json() == alone
    answered, refused = (float(np.quantile(crowd.seconds[status], 0.99)) for status in (200, 429))
    with capsys.disabled():
        sys.stdout.write(
            f" alone {alone_s:.2f} s; p99 of those answered {answered:.2f} s, of those refused"
            f" {refused:.2f} s; slowest probe {max(probes):.2f} s "
        )
    # Who is answered waited for at most one other; the clients take processors from the service.
    bound = max(5.0, 20 * alone_s)
    assert answered < bound
    assert refused < bound


@pytest.mark.abuse("load")
def test_bad_requests_do_not_affect_others(
    start_service: StartService, compiled_folder: Path, image: bytes
) -> None:
    service = start_service(model=compiled_folder)
    service.wait_ready()
    alone = post(service, image).json()
    bad = (
        image[:-300],
        b"",
        b"<html>",
        bytes(128) + b"DICM",
        b"\x89PNG\r\n\x1a\n",
        image[:100],
    )
    crowd = Crowd(service, image, clients=3)
    refused: Counter[int] = Counter()
    try:
        while crowd.statuses[200] < 20 or refused.total() < 5 * len(bad):
            refused[post(service, bad[refused.total() % len(bad)]).status_code] += 1
    finally:
        crowd.stop()
    assert set(crowd.statuses) == {200}, crowd.statuses
    assert crowd.probabilities == {alone["probability"]}
    assert not crowd.dropped
    assert set(refused) == {415, 422}


@pytest.mark.abuse("lifecycle")
def test_no_request_is_lost_at_sigterm_under_load(
    start_service: StartService, compiled_folder: Path, image: bytes
) -> None:
    service = start_service(model=compiled_folder, drain_s=5, graceful_timeout_s=PATIENCE_S)
    service.wait_ready()
    crowd = Crowd(service, image, clients=6)
    try:
        while crowd.statuses[200] < 5:
            time.sleep(0.05)
        service.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + 4.5
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


@pytest.mark.abuse("lifecycle")
def test_a_killed_worker_is_replaced(
    start_service: StartService, compiled_folder: Path, image: bytes
) -> None:
    service = start_service(model=compiled_folder)
    service.wait_ready()
    killed = service.worker()
    os.kill(killed, signal.SIGKILL)
    end = time.monotonic() + PATIENCE_S
    while service.workers() in ([], [killed]):  # until the master has detected it
        assert time.monotonic() < end
        time.sleep(0.05)
    service.wait_ready()
    assert service.worker() != killed
    assert post(service, image).status_code == 200


def slow_heads(port: int, count: int) -> Iterator[socket.socket]:
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        yield connection


@pytest.mark.abuse("load")
def test_clients_that_never_finish_a_request_are_disconnected(
    start_service: StartService, compiled_folder: Path, image: bytes
) -> None:
    service = start_service(model=compiled_folder)
    service.wait_ready()
    connections = list(slow_heads(service.port, 100))
    try:
        for connection in connections:
            assert connection.recv(1000) == b""
    finally:
        for connection in connections:
            connection.close()
    assert post(service, image).status_code == 200


@pytest.mark.abuse("lifecycle")
def test_a_hanging_client_does_not_delay_shutdown(
    start_service: StartService, compiled_folder: Path
) -> None:
    grace_s = 2
    service = start_service(model=compiled_folder, graceful_timeout_s=grace_s)
    service.wait_ready()
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S) as connection:
        connection.sendall(head + b"Content-Length: 1000\r\n\r\nabc")
        assert requests.get(f"{service.address}/healthz", timeout=PATIENCE_S).ok
        began = time.monotonic()
        assert service.terminate() == 0
        took = time.monotonic() - began
    assert grace_s - 1 < took < grace_s + 20, "the grace, and what a busy machine needs"


CONFINED = (
    "unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
    # A read-only file system, a full disk for temporary files, and no root privileges.
    'mount -o remount,bind,ro / && '
    'mount -t tmpfs -o size=4k tmpfs "$TMPDIR" && '
    '{ cat /dev/zero >"$TMPDIR/full" 2>/dev/null || :; } && '
    'exec unshare --user --map-user=65534 --map-group=65534 "$@"',
    "sh",
)  # fmt: skip


def can_confine(environment: dict[str, str]) -> bool:
    return not subprocess.run(
        [*CONFINED, "true"], env={**os.environ, **environment}, capture_output=True, check=False
    ).returncode


@pytest.mark.abuse("lifecycle")
def test_service_runs_without_writing_files(
    compiled_folder: Path, image: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tmp").mkdir()
    environment = {"TMPDIR": str(tmp_path / "tmp"), "HOME": "/nonexistent"}
    confined = can_confine(environment)
    if confined:
        for attempt in (
            'touch "$TMPDIR/../file"',
            'echo text >"$TMPDIR/file"',
            "test $(id -u) = 0",
        ):
            tried = subprocess.run(
                [*CONFINED, "sh", "-c", attempt],
                env={**os.environ, **environment},
                capture_output=True,
                check=False,
            )
            assert tried.returncode, attempt
    else:  # where namespaces are forbidden, as in many containers
        environment["TMPDIR"] = "/nonexistent"
    with capsys.disabled():
        sys.stdout.write(f" {'read-only, full, not root' if confined else 'no folders'} ")
    service = ServiceProcess(
        tmp_path / "log",
        prefix=CONFINED if confined else (),
        environment=environment,
        model=compiled_folder,
    )
    try:
        service.wait_ready()
        large = image.ljust(3_000_000, b"\0")  # more than Werkzeug keeps in memory by default
        for files in ({"file": ("a.jpg", image)}, {"file": ("a.jpg", large)}):
            answer = requests.post(
                f"{service.address}/predict?explain=true", files=files, timeout=PATIENCE_S
            )
            assert answer.status_code == 200, answer.text
        assert service.terminate() == 0
    finally:
        service.kill()
    assert "Traceback" not in service.log
