"""Slow and greedy clients, against a service with default settings."""

import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from mammoscope.settings.service import ServiceSettings
from tests.abuse.images import IMAGE
from tests.abuse.watchdog import Defaults, free_port
from tests.service_process import PATIENCE_S

pytestmark = pytest.mark.abuse("connections")

Attack = Callable[[int, ExitStack], None]


@pytest.fixture(scope="module")
def defaults(tmp_path_factory: pytest.TempPathFactory, compiled_folder: Path) -> Iterator[Defaults]:
    service = Defaults(tmp_path_factory.mktemp("defaults"), compiled_folder, IMAGE)
    yield service
    service.process.kill()


def connected(open_: ExitStack, port: int, sent: bytes = b"", *, narrow: bool = False) -> None:
    """Connect until the end of the attack."""
    connection = open_.enter_context(socket.socket())
    if narrow:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.settimeout(PATIENCE_S)
    connection.connect(("127.0.0.1", port))
    connection.sendall(sent)


def post(path: str, size: int, kind: str = "image/png") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {size}"
    return f"{head}\r\n\r\n".encode()


def many(count: int, sent: bytes = b"", *, narrow: bool = False) -> Attack:
    def attack(port: int, open_: ExitStack) -> None:
        for _ in range(count):
            connected(open_, port, sent, narrow=narrow)

    return attack


FORM = "multipart/form-data; boundary=x"
HEAT_MAPS = (post("/predict?explain=true", len(IMAGE)) + IMAGE) * 3

ATTACKS: dict[str, Attack] = {
    "answers that are never read": many(
        80, b"GET /model HTTP/1.1\r\nHost: a\r\n\r\n" * 150, narrow=True
    ),
    "heat maps that are never read": many(20, HEAT_MAPS, narrow=True),
    "pages that are never read": many(
        80, b"GET /static/page/pane.js HTTP/1.1\r\n\r\n" * 150, narrow=True
    ),
    "one-byte heads": many(72, b"G"),
    "silent connections": many(200),
    "empty lines": many(200, b"\r\n\r\n"),
    "very many connections": many(1100),
    "stalled bodies": many(120, post("/predict", 10**6) + b"a"),
    "stalled chunks": many(
        120, b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nffff\r\na",
    ),
    "two uploads of all the memory": many(2, post("/studies", 256 * 2**20, FORM)),
    "bodies that nobody wants": many(120, post("/nothing", 10**9) + bytes(50_000)),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def enough_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


MAY_REFUSE = ("stalled bodies", "stalled chunks")
"""Attacks that occupy all slots until the deadline of their bodies."""


@pytest.mark.flood
@pytest.mark.parametrize("case", ATTACKS)
def test_good_requests_are_answered_during_attacks(defaults: Defaults, case: str) -> None:
    with defaults.watched(), ExitStack() as open_:
        ATTACKS[case](defaults.port, open_)
        statuses = set()
        for _ in range(30):
            statuses.add(defaults.predict())
            time.sleep(0.1)
        assert statuses == {200} or case in MAY_REFUSE, statuses


def tensor(data: bytes, kind: bytes = b"BYTES", shape: bytes = b"30001") -> bytes:
    described = b'"name": "image", "datatype": "%b", "shape": [%b]' % (kind, shape)
    return b'{"inputs": [{%b, "data": [%b]}]}' % (described, data)


TENSORS: dict[str, bytes] = {
    "one long text and many empty ones": tensor(b'"' + b"A" * 120_000 + b'"' + b',""' * 30_000),
    "lists of lists": tensor(b"[0" + b",[]" * 5_000_000 + b"]", b"UINT8"),
    "long texts": tensor(b",".join([b'"' + b"A" * 4_000_000 + b'"'] * 15), shape=b"15"),
    "numbers": tensor(b"1" + b",1e5" * 5_000_000, b"UINT8"),
}


@pytest.mark.flood
@pytest.mark.parametrize("case", TENSORS)
def test_memory_of_tensors_is_limited(defaults: Defaults, case: str) -> None:
    worker = Path(f"/proc/{defaults.process.worker()}/clear_refs")
    worker.write_text("5")  # begins the peak anew
    before, body = defaults.process.memory(), TENSORS[case]
    with defaults.watched():
        end = time.monotonic() + 3
        while time.monotonic() < end:
            answer = requests.post(
                f"{defaults.process.address}/v2/models/mammoscope/infer",
                data=body,
                headers={"Content-Type": "application/json"},
                timeout=PATIENCE_S,
            )
            assert answer.status_code in (400, 413, 415), answer.text
    assert defaults.process.memory("VmHWM") - before < 4 * len(body) + 100 * 2**20


@pytest.mark.flood
def test_stalled_bodies_lose_their_slots(defaults: Defaults) -> None:
    with defaults.watched(), ExitStack() as open_:
        ATTACKS["stalled bodies"](defaults.port, open_)
        began = time.monotonic()
        while defaults.predict() == 429:
            time.sleep(0.2)
        assert time.monotonic() - began < ServiceSettings().request_timeout_s / 2


def test_a_client_gets_the_refusal_while_it_is_sending(defaults: Defaults) -> None:
    size = ServiceSettings().max_image_bytes * 2
    with socket.create_connection(("127.0.0.1", defaults.port), timeout=PATIENCE_S) as connection:
        connection.sendall(post("/predict", size))
        for _ in range(50):  # more than any buffer takes
            connection.sendall(bytes(1_000_000))
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in answer


@pytest.mark.flood
@pytest.mark.parametrize("files", [512, 1024])
def test_descriptors_never_run_out(tmp_path: Path, compiled_folder: Path, files: int) -> None:
    service = Defaults(
        tmp_path, compiled_folder, IMAGE, prefix=("prlimit", f"--nofile={files}:{files}")
    )
    try:
        worker = service.process.worker()
        with service.watched(), ExitStack() as open_:
            many(1100)(service.port, open_)
            assert [service.predict() for _ in range(5)] == [200] * 5
            descriptors = os.listdir(f"/proc/{worker}/fd")  # noqa: PTH208 only counted
            assert len(descriptors) < files
        assert service.process.worker() == worker
        assert "Traceback" not in service.process.log
    finally:
        service.process.kill()


def test_connections_per_address_are_limited(tmp_path: Path, compiled_folder: Path) -> None:
    service = Defaults(tmp_path, compiled_folder, IMAGE, max_connections_per_client=3)
    try:
        with ExitStack() as open_:
            many(10)(service.port, open_)
            refused = requests.get(f"{service.process.address}/healthz", timeout=PATIENCE_S)
            assert refused.status_code == 429
            assert refused.headers["Content-Type"] == "application/problem+json"
        end = time.monotonic() + PATIENCE_S
        while not requests.get(f"{service.process.address}/healthz", timeout=PATIENCE_S).ok:
            assert time.monotonic() < end
    finally:
        service.process.kill()


def test_proxies_may_have_many_connections(tmp_path: Path, compiled_folder: Path) -> None:
    service = Defaults(
        tmp_path,
        compiled_folder,
        IMAGE,
        max_connections_per_client=3,
        trusted_proxies="10.0.0.0/8, 127.0.0.1",
    )
    try:
        with ExitStack() as open_:
            many(30)(service.port, open_)
            assert service.predict() == 200
    finally:
        service.process.kill()


UNREAD_LOG = """
import subprocess, sys
process = subprocess.Popen(sys.argv[1:], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
sys.exit(process.wait())  # and reads nothing
"""


def test_an_unread_log_does_not_stop_the_service(tmp_path: Path, compiled_folder: Path) -> None:
    metrics = f"127.0.0.1:{free_port()}"
    service = Defaults(
        tmp_path,
        compiled_folder,
        IMAGE,
        prefix=(sys.executable, "-c", UNREAD_LOG),
        metrics_bind=metrics,
    )
    try:
        with requests.Session() as session:
            for _ in range(3_000):  # lines of 200 bytes, for a pipe of 64 kB and a queue of 2,000
                assert session.get(f"{service.process.address}/healthz", timeout=PATIENCE_S).ok
        assert service.predict() == 200
        told = requests.get(f"http://{metrics}/metrics", timeout=PATIENCE_S).text
        (dropped,) = (
            line.split()[1]
            for line in told.splitlines()
            if line.startswith("mammoscope_log_lines_dropped_total ")
        )
        assert float(dropped) > 0
    finally:
        service.process.kill()
