"""Start workers in the environments and commands of the package, and read their results."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.environments import ROOT


class WorkerFailedError(Exception):
    """A worker exited with an error; the message is the end of its output."""


def run_worker(python: Path, worker: str, *arguments: str, answers: bool = True) -> dict[str, Any]:
    """Run ``benchmarks.workers.WORKER`` and return the result from the last line of its output.

    Parameters
    ----------
    python
        Interpreter of its environment.
    worker, arguments
        Name of the worker, and its arguments.
    answers
        Whether it prints a result.

    Raises
    ------
    WorkerFailedError
        If it exits with an error.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONWARNINGS": "ignore",
    }
    result = subprocess.run(
        [str(python), "-m", f"benchmarks.workers.{worker}", *arguments],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        last = " / ".join(result.stderr.splitlines()[-3:])[-600:]
        raise WorkerFailedError(f"{worker} ended with {result.returncode}: {last}")
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1]) if answers else {}
    return answer


def command_s(*words: str, **environment: str) -> float:
    """Run a command of ``mammoscope``; returns the seconds from its start to its end.

    Raises
    ------
    subprocess.CalledProcessError
        If the command fails.
    """
    inherited = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "mammoscope", *words],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        env={**inherited, **environment},
    )
    return time.perf_counter() - began
