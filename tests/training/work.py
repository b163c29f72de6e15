"""What the processes of a test do; they import it by name, so it imports little."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

from mammoscope.errors import RunError
from mammoscope.training.processes import EXIT_LOST, Place

kept: list[Any] = []


def note(folder: Path, place: Place) -> None:
    (folder / str(place.number)).write_text(f"{place.count} {len(os.sched_getaffinity(0))}")


def refuse(place: Place) -> None:
    if place.number == 1:
        raise RunError("refused")
    time.sleep(300)  # until it is ended


def fail(how: str, folder: Path, place: Place) -> None:
    kept.append(multiprocessing.get_context("spawn").Lock())  # as Keras does
    if place.number == 1:
        while not (folder / "pid").exists():
            time.sleep(0.01)
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(EXIT_LOST if how == "lost" else 7)
    (folder / "written").write_text(str(os.getpid()))
    (folder / "written").rename(folder / "pid")
    time.sleep(300)
