"""The service as a separate process."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from mammoscope.client import Client

ROOT = Path(__file__).resolve().parents[1]

PATIENCE_S = 300
"""Seconds after which a process counts as hanging, on a busy machine too."""


class ServiceProcess:
    """gunicorn as `make serve` starts it, on a free port.

    ``prefix`` is a command that starts it, `environment` what it gets besides.
    """

    def __init__(
        self,
        log: Path,
        *,
        prefix: tuple[str | Path, ...] = (),
        environment: dict[str, str] | None = None,
        **settings: Any,
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._log = log
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MAMMOSCOPE_")}
        inherited.pop("KERAS_BACKEND", None)
        chosen = {"drain_s": 0, "metrics_bind": "", "probe_bind": "", **settings}
        if cache := os.environ.get("MAMMOSCOPE_CACHE"):
            chosen.setdefault("cache", cache)
        own = {f"MAMMOSCOPE_{name.upper()}": str(value) for name, value in chosen.items()}
        bind = {"MAMMOSCOPE_BIND": f"127.0.0.1:{self.port}"}
        command = ("gunicorn", "predict:app")  # gunicorn.conf.py is found by itself
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", *command],
                cwd=ROOT,
                env={**inherited, **(environment or {}), **bind, **own},
                stdout=stream,
                stderr=stream,
            )

    @property
    def log(self) -> str:
        """Whole lines that the service has written; it may be writing the next one."""
        text = self._log.read_text()
        return text[: text.rfind("\n") + 1]

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        master = self.process.pid
        children = Path(f"/proc/{master}/task/{master}/children").read_text()
        return [int(child) for child in children.split()]

    def worker(self) -> int:
        """Process id of the one worker."""
        (worker,) = self.workers()
        return worker

    def memory(self, field: str = "VmRSS") -> int:
        """Memory of the worker in bytes; with VmHWM, its peak."""
        status = Path(f"/proc/{self.worker()}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith(f"{field}:"))
        return int(line.split()[1]) * 1024

    def total_memory(self) -> int:
        """Memory of all processes in bytes; shared memory is counted once (PSS)."""
        total, left = 0, [self.process.pid]
        while left:
            folder = Path(f"/proc/{left.pop()}")
            with suppress(OSError):  # it has ended
                left += [
                    int(child)
                    for task in (folder / "task").iterdir()
                    for child in (task / "children").read_text().split()
                ]
                pss = re.search(
                    r"^Pss: +(\d+)", (folder / "smaps_rollup").read_text(), re.MULTILINE
                )
                total += int(pss[1]) * 1024 if pss else 0
        return total

    def wait_ready(self) -> None:
        with Client(self.address) as client:
            client.wait_ready(PATIENCE_S)

    def terminate(self) -> int:
        """Stop it; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """Kill it if it is still running."""
        if self.process.poll() is None:
            for child in self.workers():  # gunicorn, if an init has started it
                os.kill(child, signal.SIGKILL)
            self.process.kill()
            self.process.wait(10)
