"""Starts a worker in one of the environments and reads its answer."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.environments import ROOT


class WorkerFailedError(Exception):
    """A worker that ended with an error; the message is the end of what it wrote."""


def run_worker(python: Path, worker: str, *arguments: str, answers: bool = True) -> dict[str, Any]:
    """Run ``benchmarks.workers.WORKER`` and return what it printed as its last line.

    Parameters
    ----------
    python
        Interpreter of its environment.
    worker, arguments
        Which one, and what it is given.
    answers
        Whether it prints a result.

    Raises
    ------
    WorkerFailedError
        If it ends with an error.
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
