"""A service with default settings, and a watchdog that measures its effects on users."""

import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import requests
import yaml
from PIL import Image

from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom
from mammoscope.settings.service import ServiceSettings
from tests.abuse.images import encode
from tests.service_process import PATIENCE_S, ROOT, ServiceProcess

PROBE_P99_S: Final = 0.1
"""Maximum time of probes during an attack, in addition to the response time of another process at
the same time, because the machine may be busy."""

NEXT_ANSWER_S: Final = 2.0
"""Time from the end of an attack to the next good answer."""

DEADLINE_S: Final = ServiceSettings().request_timeout_s + 5.0
"""Time limit for answering a good request or refusing it with 429, plus 5 s for sending."""


def _limit_mb() -> int:
    deployment = yaml.safe_load((ROOT / "kube-config/base/deployment.yaml").read_text("utf-8"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    match = re.fullmatch(r"(\d+)Gi", container["resources"]["limits"]["memory"])
    assert match
    return int(match[1]) * 1024


LIMIT_MB: Final = _limit_mb()
"""Memory limit in the manifests."""

GOOD: Final = encode(
    Image.fromarray(
        np.rint(draw_phantom(PhantomConfig(seed=3, height=1024, width=832)).pixels * 255).astype(
            np.uint8
        )
    )
)
"""An image that the released model predicts."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


_CONTROL: Final = """
import socketserver
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.request.recv(65536)
        self.request.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
"""

_PROBING: Final = """
import http.client, sys, time
while True:
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
    connection.request("GET", "/readyz")
    status = connection.getresponse().status
    connection.close()
    print(status, time.monotonic() - began, flush=True)
    time.sleep(0.01)
"""


@contextmanager
def control() -> Iterator[int]:
    """Run a process that answers immediately; yield its port."""
    with subprocess.Popen(
        [sys.executable, "-I", "-c", _CONTROL], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield int(process.stdout.readline())
        process.kill()


@contextmanager
def probing(port: int) -> Iterator[list[float]]:
    """Probe repeatedly in a separate process; at the end, the list has the seconds."""
    seconds: list[float] = []
    with subprocess.Popen(
        [sys.executable, "-I", "-c", _PROBING, str(port)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        lines = [process.stdout.readline()]  # it has started
        try:
            yield seconds
        finally:
            process.terminate()
            lines += process.stdout.readlines()
    for line in lines:
        status, took = line.split()
        assert status == "200"
        seconds.append(float(took))


@dataclass
class Figures:
    """The watchdog's measurements during one attack."""

    probe_s: list[float] = field(default_factory=list)
    control_s: list[float] = field(default_factory=list)
    good_s: list[float] = field(default_factory=list)
    refused: int = 0
    peak_mb: int = 0
    next_s: float = 0.0

    def __str__(self) -> str:
        return (
            f"probes {1000 * self.p99_s:.0f} ms (control {1000 * self.control_p99_s:.0f} ms), good"
            f" {max(self.good_s, default=0):.1f} s ({len(self.good_s)}, {self.refused} refused),"
            f" {self.peak_mb} MB, next {self.next_s:.2f} s"
        )

    @property
    def p99_s(self) -> float:
        return float(np.quantile(self.probe_s, 0.99))

    @property
    def control_p99_s(self) -> float:
        return float(np.quantile(self.control_s, 0.99))


MEASURED: Final[list[Figures]] = []
"""Measurements of all attacks of this run."""


def summary() -> str:
    """Counts and worst figures of all attacks of this run."""
    probes = sum(len(each.probe_s) for each in MEASURED)
    worst = max(MEASURED, key=lambda each: each.p99_s)
    good = [seconds for each in MEASURED for seconds in each.good_s]
    refused = sum(each.refused for each in MEASURED)
    return (
        f"default settings: {len(MEASURED)} attacks; {probes} probes, p99 at worst"
        f" {1000 * worst.p99_s:.0f} ms (a control process: {1000 * worst.control_p99_s:.0f} ms);"
        f" {len(good)} good requests answered, median {statistics.median(good or [0]):.2f} s, at"
        f" worst {max(good or [0]):.1f} s, {refused} refused with 429; memory at most"
        f" {max(each.peak_mb for each in MEASURED)} of {LIMIT_MB} MB; next good answer after"
        f" {max(each.next_s for each in MEASURED):.2f} s at worst"
    )


class Defaults:
    """A service with default settings except for its addresses, and a watchdog."""

    def __init__(self, folder: Path, model: Path, image: bytes = GOOD, **settings: object) -> None:
        self.probe_port = free_port()
        self._image = image
        own = {"model": model, "probe_bind": f"127.0.0.1:{self.probe_port}", **settings}
        self.process = ServiceProcess(folder / "log", **own)
        self.process.wait_ready()
        self.port = self.process.port
        for _ in range(8):
            assert self.predict() == 200

    def predict(self) -> int:
        """Send a good request; returns the status, 200 or 429."""
        answer = requests.post(
            f"{self.process.address}/predict",
            data=self._image,
            headers={"Content-Type": "image/png"},
            timeout=PATIENCE_S,
        )
        assert answer.status_code in (200, 429), answer.text
        return answer.status_code

    @contextmanager
    def watched(self) -> Iterator[Figures]:
        """Measure during an attack, and check the figures after it."""
        figures = Figures()

        def ask() -> None:
            began = time.monotonic()
            if self.predict() == 200:
                figures.good_s.append(time.monotonic() - began)
            else:
                figures.refused += 1
                time.sleep(0.2)

        def weigh() -> None:
            figures.peak_mb = max(figures.peak_mb, self.process.total_memory() // 2**20)

        with (
            control() as control_port,
            probing(control_port) as figures.control_s,
            probing(self.probe_port) as figures.probe_s,
            _repeated(ask, every_s=0.2),
            _repeated(weigh, every_s=0.25),
        ):
            yield figures
        began = time.monotonic()
        while self.predict() != 200:
            assert time.monotonic() - began < NEXT_ANSWER_S
        figures.next_s = time.monotonic() - began
        MEASURED.append(figures)
        sys.stdout.write(f" {figures} ")
        assert figures.p99_s < PROBE_P99_S + figures.control_p99_s
        assert max(figures.good_s, default=0.0) < DEADLINE_S
        assert figures.peak_mb < LIMIT_MB
        assert figures.next_s < NEXT_ANSWER_S


@contextmanager
def _repeated(action: Callable[[], None], *, every_s: float) -> Iterator[None]:
    """Repeat an action, and raise its exception afterwards."""
    ended = threading.Event()
    failed: list[BaseException] = []

    def repeat() -> None:
        try:
            while True:
                action()
                if ended.wait(every_s):
                    return
        except BaseException as err:  # noqa: BLE001 raised below
            failed.append(err)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(PATIENCE_S)
    if failed:
        raise failed[0]
