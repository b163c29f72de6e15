"""Servers as groups of processes: start, measure and stop them together."""

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

_GRACE_S: Final = 20.0
"""Time for a server to stop by itself; what is left then is killed."""

_MARK: Final = "BENCHMARK_PROCESS"
"""Environment variable that marks processes which a server started and left running."""

_PROC: Final = Path("/proc")


class ServerDiedError(Exception):
    """A server exited or never answered; the message has the end of its output."""


class Server:
    """A server with all its child processes; a context manager that stops them.

    Parameters
    ----------
    command
        Program and arguments.
    folder
        Working directory.
    environment
        Additional environment variables.
    log
        File for the server's output.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
    ) -> None:
        self._command = command
        self._folder = folder
        self._mark = uuid.uuid4().hex
        self._environment = {**os.environ, **environment, _MARK: self._mark}
        self._log = log

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self.started = time.monotonic()
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        family = self.family()
        self._process.terminate()
        if not self._gone(family, within_s=_GRACE_S):
            for pid in {*family, *self.family()}:
                _kill(pid)
            self._gone(family, within_s=10.0)

    def require_running(self) -> None:
        """Raise ServerDiedError if the server has exited."""
        if self._process.poll() is not None:
            raise ServerDiedError(f"ended with {self._process.returncode}: {self.last_words()}")

    def last_words(self) -> str:
        """Return the end of the server's output."""
        lines = self._log.read_text("utf-8", errors="replace").splitlines()
        return " / ".join(line.strip() for line in lines[-4:])[-600:]

    def family(self) -> set[int]:
        """Return the process ids of the server and of everything it started."""
        parents: dict[int, int] = {}
        members = {self._process.pid}
        for folder in _PROC.iterdir():
            if not folder.name.isdigit():
                continue
            pid = int(folder.name)
            try:
                stat = (folder / "stat").read_text()
                environment = (folder / "environ").read_bytes()
            except OSError:
                continue
            state, parent = stat.rpartition(")")[2].split()[:2]
            if state == "Z":
                continue
            parents[pid] = int(parent)
            if f"{_MARK}={self._mark}".encode() in environment:
                members.add(pid)
        grown = True
        while grown:
            children = {pid for pid, parent in parents.items() if parent in members} - members
            members |= children
            grown = bool(children)
        return members & parents.keys()

    def memory_bytes(self) -> int:
        """Proportional set size of all its processes in bytes; the sum counts shared pages once."""
        return sum(proportional_set_size(pid) for pid in self.family())

    def processor_s(self) -> float:
        """Total processor time of all its processes in seconds."""
        return sum(processor_time_s(pid) for pid in self.family())

    def _gone(self, family: set[int], within_s: float) -> bool:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            self._process.poll()
            if not any(_lives(pid) for pid in family):
                return True
            time.sleep(0.05)
        return False


def proportional_set_size(pid: int) -> int:
    """Memory of a process in bytes, pages shared by n processes counted as 1/n; 0 if it has exited.

    References
    ----------
    Linux kernel documentation, "The /proc Filesystem": smaps_rollup, Pss.
    """
    try:
        text = (_PROC / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def processor_time_s(pid: int) -> float:
    """Processor time of a process in seconds, in user and system mode; 0 if it has exited.

    References
    ----------
    proc(5): /proc/pid/stat, utime (14) and stime (15), in clock ticks.
    """
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return 0.0
    after_name = stat.rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def _lives(pid: int) -> bool:
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
