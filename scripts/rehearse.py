"""Rehearse a rolling update, a killed replica and a broken model under load.

Replicas are processes of the service behind haproxy. The probes, the pause before SIGTERM, the
grace period and the settings come from the rendered manifest. A client sends requests at a constant
rate throughout, and none may fail.

If a replica goes away, the proxy repeats its requests on another one. That is safe, because a
prediction changes nothing.

Usage: python scripts/rehearse.py [--model DIR] [--rate REQUESTS_A_SECOND]
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import requests
import yaml

ROOT: Final = Path(__file__).resolve().parents[1]
BIN: Final = Path(sys.executable).parent
READY_WITHIN_S: Final = 600
BROKEN_STAYS_S: Final = 15
SLOTS: Final = 3
"""Two replicas, and one more during a rolling update."""


@dataclass(frozen=True)
class Manifest:
    """The parts of the Deployment that govern a pod's lifecycle."""

    ready_path: str
    period_s: int
    timeout_s: int
    failures: int
    pause_s: int
    grace_s: int
    settings: dict[str, str]

    @classmethod
    def rendered(cls) -> "Manifest":
        """Read the manifest rendered from kube-config/base."""
        text = subprocess.run(
            [BIN / "kubectl", "kustomize", ROOT / "kube-config" / "base"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        objects = {each["kind"]: each for each in yaml.safe_load_all(text)}
        pod = objects["Deployment"]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        probe = container["readinessProbe"]
        return cls(
            probe["httpGet"]["path"],
            probe["periodSeconds"],
            probe["timeoutSeconds"],
            probe["failureThreshold"],
            container["lifecycle"]["preStop"]["sleep"]["seconds"],
            pod["terminationGracePeriodSeconds"],
            objects["ConfigMap"]["data"],
        )


def free_port() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


class Cluster:
    """haproxy in the role of the Service, and the replicas behind it."""

    def __init__(self, work: Path, model: Path, manifest: Manifest) -> None:
        self._work, self._model, self._manifest = work, model, manifest
        self._admin = work / "admin.sock"
        self._ports = [free_port() for _ in range(SLOTS)]
        self._replicas: dict[int, subprocess.Popen[bytes]] = {}
        self.address = f"http://127.0.0.1:{free_port()}"

    def configuration(self) -> str:
        """Return haproxy's configuration, with the manifest's readiness probe."""
        manifest = self._manifest
        servers = "\n".join(
            f"  server slot{slot} 127.0.0.1:{port} check" for slot, port in enumerate(self._ports)
        )
        return f"""
global
  stats socket {self._admin} level admin
  tune.bufsize 4194304
  maxconn 64
defaults
  mode http
  timeout connect 2s
  timeout client 120s
  timeout server 120s
  timeout queue 120s
  timeout check {manifest.timeout_s}s
  option http-buffer-request
  option redispatch 1
  retries 10
  retry-on conn-failure empty-response 502 503
frontend service
  bind {self.address.removeprefix("http://")}
  default_backend replicas
backend replicas
  balance leastconn
  option httpchk GET {manifest.ready_path}
  http-check expect status 200
  default-server inter {manifest.period_s}s fall {manifest.failures} rise 1
{servers}
"""

    @contextmanager
    def proxied(self) -> Iterator[None]:
        """Run haproxy; stop it and all replicas at the end."""
        file = self._work / "haproxy.cfg"
        file.write_text(self.configuration())
        haproxy = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
        if haproxy is None:
            raise SystemExit("haproxy is needed; on Debian: apt-get install haproxy")
        with (self._work / "haproxy.log").open("wb") as log:
            proxy = subprocess.Popen([haproxy, "-db", "-f", file], stdout=log, stderr=log)
        try:
            while not self._admin.exists():
                if proxy.poll() is not None:
                    raise SystemExit(f"haproxy ended: {(self._work / 'haproxy.log').read_text()}")
                time.sleep(0.1)
            yield
        finally:
            for slot in self._replicas:
                self.kill(slot)
            proxy.kill()
            proxy.wait()

    def start(self, slot: int, model: Path | None = None) -> None:
        """Start a replica that gets no requests until it is ready, like a pod."""
        self._ask(f"set server replicas/slot{slot} health down")
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MAMMOSCOPE_")}
        kept.pop("KERAS_BACKEND", None)
        own = {
            "MAMMOSCOPE_BIND": f"127.0.0.1:{self._ports[slot]}",
            "MAMMOSCOPE_METRICS_BIND": "",  # replicas share this machine's ports
            "MAMMOSCOPE_PROBE_BIND": "",
            "MAMMOSCOPE_MODEL": str(model or self._model),
        }
        with (self._work / f"replica-{slot}.log").open("ab") as log:
            self._replicas[slot] = subprocess.Popen(
                [BIN / "gunicorn", "predict:app", "--config", "gunicorn.conf.py"],
                cwd=ROOT,
                env={**kept, **self._manifest.settings, **own},
                stdout=log,
                stderr=log,
            )

    def wait_ready(self, slot: int) -> None:
        """Wait until the proxy's probe finds the replica ready."""
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.is_up(slot):
            if time.monotonic() > deadline:
                raise SystemExit("A replica did not become ready.")
            time.sleep(0.5)

    def wait_refused(self, slot: int) -> None:
        """Wait until the replica reports that it refused its model."""
        deadline = time.monotonic() + READY_WITHIN_S
        address = f"http://127.0.0.1:{self._ports[slot]}{self._manifest.ready_path}"
        while True:
            with suppress(requests.RequestException):
                if requests.get(address, timeout=30).json().get("code") == "artifact_mismatch":
                    return
            if time.monotonic() > deadline:
                raise SystemExit("A replica did not report its broken model.")
            time.sleep(0.5)

    def is_up(self, slot: int) -> bool:
        """Return whether the proxy's last probe of this slot passed."""
        rows = self._ask("show stat").splitlines()
        names = rows[0].lstrip("# ").split(",")
        found = [dict(zip(names, row.split(","), strict=False)) for row in rows[1:] if row]
        (row,) = [each for each in found if each["svname"] == f"slot{slot}"]
        return row["status"] == "UP" and row["check_status"] == "L7OK"

    def terminate(self, slot: int) -> None:
        """Stop a replica as a cluster does: drain, pause, SIGTERM, grace period."""
        self._ask(f"set server replicas/slot{slot} state drain")
        time.sleep(self._manifest.pause_s)
        replica = self._replicas[slot]
        replica.send_signal(signal.SIGTERM)
        grace_s = self._manifest.grace_s - self._manifest.pause_s
        try:
            code = replica.wait(grace_s)
        except subprocess.TimeoutExpired:
            raise SystemExit(
                f"A replica did not stop within {grace_s} s of SIGTERM. On a busy machine, lower "
                "the request rate (--rate)."
            ) from None
        if code != 0:
            raise SystemExit(f"A replica exited with {code} after SIGTERM.")
        self._ask(f"set server replicas/slot{slot} state ready")

    def kill(self, slot: int) -> None:
        """Send SIGKILL to the replica and its worker."""
        replica = self._replicas[slot]
        if replica.poll() is not None:
            return
        workers = Path(f"/proc/{replica.pid}/task/{replica.pid}/children").read_text().split()
        for process in (*map(int, workers), replica.pid):
            os.kill(process, signal.SIGKILL)
        replica.wait()

    def _ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(self._admin))
            admin.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: admin.recv(65536), b"")).decode()


class Client:
    """Sends requests at a constant rate and records every outcome."""

    def __init__(self, address: str, image: bytes, rate: float) -> None:
        self._address, self._image, self._rate = address, image, rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers: list[tuple[str, float]] = []

    def __enter__(self) -> "Client":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with ThreadPoolExecutor(16) as pool:
            while not self._stop.wait(1 / self._rate):
                pool.submit(self._ask)

    def _ask(self) -> None:
        began = time.monotonic()
        try:
            answer = requests.post(
                f"{self._address}/predict",
                data=self._image,
                headers={"Content-Type": "image/png"},
                timeout=120,
            )
            outcome = str(answer.status_code)
        except requests.RequestException as err:
            outcome = type(err).__name__
        self.answers.append((outcome, time.monotonic() - began))


def rolling_update(cluster: Cluster) -> None:
    """Replace each replica: start a new one, then stop an old one."""
    spare = 2
    for old in (0, 1):
        cluster.start(spare)
        cluster.wait_ready(spare)
        cluster.terminate(old)
        spare = old
    # The replicas are now in slots 2 and 0.


def killed_replica(cluster: Cluster) -> None:
    """Kill a replica and start it again, as a cluster does."""
    cluster.kill(0)
    cluster.start(0)
    cluster.wait_ready(0)


def broken_model(cluster: Cluster, broken: Path) -> None:
    """Start a replica whose model does not match its card: it must never become ready."""
    cluster.start(1, broken)
    cluster.wait_refused(1)
    until = time.monotonic() + BROKEN_STAYS_S
    while time.monotonic() < until:
        if cluster.is_up(1):
            raise SystemExit("A replica with a broken model became ready.")
        time.sleep(0.5)
    cluster.terminate(1)


def corrupted(model: Path, folder: Path) -> Path:
    """Copy the model folder and change one byte of the network."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("experiments"))
    network = folder / "model.keras"
    data = bytearray(network.read_bytes())
    data[len(data) // 2] ^= 0xFF
    network.write_bytes(data)
    return folder


def rehearse(model: Path, rate: float, work: Path) -> int:
    """Run the three scenarios and print the table; return 1 if a request failed."""
    command = [sys.executable, "-m", "mammoscope", "phantoms", work / "phantoms", "--count", "3"]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    image = min((work / "phantoms").glob("*.png")).read_bytes()
    cluster = Cluster(work, model, Manifest.rendered())
    broken = corrupted(model, work / "broken")
    scenarios: dict[str, Callable[[], Any]] = {
        "rolling update": lambda: rolling_update(cluster),
        "killed replica": lambda: killed_replica(cluster),
        "broken model": lambda: broken_model(cluster, broken),
    }
    failed = 0
    with ExitStack() as stack:
        stack.enter_context(cluster.proxied())
        for slot in (0, 1):
            cluster.start(slot)
        for slot in (0, 1):
            cluster.wait_ready(slot)
        print(f"{'scenario':16}  {'requests':>8}  {'failed':>6}  {'median s':>8}  {'slowest s':>9}")
        for name, scenario in scenarios.items():
            with Client(cluster.address, image, rate) as client:
                time.sleep(2)
                scenario()
                time.sleep(2)
            bad = [outcome for outcome, _ in client.answers if outcome != "200"]
            times = np.array([seconds for _, seconds in client.answers])
            failed += len(bad)
            print(
                f"{name:16}  {len(times):8}  {len(bad):6}  {np.median(times):8.2f}  "
                f"{times.max():9.2f}  {' '.join(sorted(set(bad)))}".rstrip(),
                flush=True,
            )
    return int(failed > 0)


def main() -> int:
    """Run the rehearsal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, default=ROOT / "model", help="model folder")
    parser.add_argument("--rate", type=float, default=1.0, help="requests per second")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        return rehearse(args.model.resolve(), args.rate, Path(work))


if __name__ == "__main__":
    raise SystemExit(main())
