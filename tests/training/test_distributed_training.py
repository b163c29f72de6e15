"""Several processes train as one: the same losses, one process killed, resumed on two machines."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from mammoscope.training.processes import EXIT_LOST, on_this_machine

pytestmark = pytest.mark.training

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = 2
REAL = "DISTRIBUTED_REAL" in os.environ
"""Whether to train Inception v3 (`make test-distributed`); a small network otherwise."""

PROGRAM = "mammoscope" if REAL else "tests.training.small_network"
EPOCHS = 3 if REAL else 4  # the first one trains the head only; a process is killed after it
SETTINGS = (
    "--preset", "smoke", "--epochs", str(EPOCHS - 1), "--validation-fraction", "0.34",
    *(() if REAL else ("--learning-rate", "1e-3")),
)  # fmt: skip
TOLERANCE = 1e-3 if REAL else 1e-5
COMPARED = 2 if REAL else EPOCHS
"""Epochs. A deep network that starts from random weights amplifies rounding from step to step."""


def start(data: Path, output: Path, *more: object) -> "subprocess.Popen[str]":
    compiled = data.with_name("compiled-by-jax")
    words = ("--data", data, "--output", output, "--cache", data.with_name("cache"), *more)
    return subprocess.Popen(
        [sys.executable, "-m", PROGRAM, "train", *SETTINGS, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # A process that is started imports the small network, and with it Keras, before all else.
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_COMPILATION_CACHE_DIR": str(compiled)},
    )


def history(output: Path) -> list[dict]:
    return json.loads((output / "history.json").read_text())


def losses(output: Path) -> list[float]:
    return [entry[part]["loss"] for entry in history(output) for part in ("train", "validation")]


@pytest.fixture(scope="module")
def alone(phantom_dataset: Path, tmp_path_factory) -> Path:
    """A training of one process."""
    output = tmp_path_factory.mktemp("alone") / "run"
    process = start(phantom_dataset, output, "--processes", 1)
    printed, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    assert f"The model is in {output}" in printed
    return output


def kill_the_last_worker(launcher: int) -> list[psutil.Process]:
    """Kill the process that does not write the run; returns all of them."""
    workers = [
        each
        for each in psutil.Process(launcher).children()
        if "spawn_main" in " ".join(each.cmdline())
    ]
    assert len(workers) == PROCESSES
    max(workers, key=lambda each: each.pid).send_signal(signal.SIGKILL)
    return workers


def test_two_processes_train_as_one_and_resume_on_two_machines(
    alone: Path, phantom_dataset: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    with start(phantom_dataset, output, "--processes", PROCESSES) as launcher:
        while not (output / "history.json").exists():
            assert launcher.poll() is None, launcher.communicate()
            time.sleep(0.05)
        workers = kill_the_last_worker(launcher.pid)
        _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == EXIT_LOST
    assert errors.endswith(
        "Process 1 of 2 was killed by SIGKILL; the others were ended. Completed epochs are kept; "
        "continue with --resume.\n"
    )
    assert not any(each.is_running() for each in workers)
    before = losses(output)
    assert len(before) < 2 * EPOCHS

    # As on two machines that share the folders: a launch for each.
    launches = [
        start(
            phantom_dataset, output, "--resume", "--processes", place.count, "--process",
            place.number, "--coordinator", place.coordinator,
        )
        for place in on_this_machine(PROCESSES)
    ]  # fmt: skip
    answers = [launch.communicate(timeout=500) for launch in launches]
    assert [launch.returncode for launch in launches] == [0] * PROCESSES, answers
    assert [f"The model is in {output}" in printed for printed, _ in answers] == [True, False]
    assert losses(output)[: len(before)] == before
    sys.stdout.write(f"1 process: {losses(alone)}\n{PROCESSES} processes: {losses(output)}\n")
    assert len(losses(output)) == len(losses(alone)) == 2 * EPOCHS
    together, expected = losses(output)[: 2 * COMPARED], losses(alone)[: 2 * COMPARED]
    assert together == pytest.approx(expected, abs=TOLERANCE)
    assert np.ptp(losses(output)[::2]) > 0.05  # the network changed
    assert json.loads((output / "environment.json").read_text())["backend"] == "jax"


def test_a_port_in_use_is_named(phantom_dataset: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        launch = start(
            phantom_dataset, tmp_path / "run", "--processes", PROCESSES, "--process", 0,
            "--coordinator", f"127.0.0.1:{port}",
        )  # fmt: skip
        _, errors = launch.communicate(timeout=200)
    assert launch.returncode == 1
    assert f"Process 0 cannot listen on port {port}: Address already in use." in errors


def test_other_options_are_refused_before_the_first_epoch(
    phantom_dataset: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    launches = [
        start(
            phantom_dataset, output, "--processes", place.count, "--process", place.number,
            "--coordinator", place.coordinator, "--label-smoothing", 0.1 * place.number,
        )
        for place in on_this_machine(PROCESSES)
    ]  # fmt: skip
    answers = [launch.communicate(timeout=500) for launch in launches]
    assert launches[0].returncode == 1, answers
    assert launches[1].returncode in (1, EXIT_LOST), answers
    assert any("were started with different options" in errors for _, errors in answers)
    assert not (output / "history.json").exists()
