"""Workers that are killed at every step: each study is reported exactly once."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.archive.servers import PATIENCE_S, Orthanc, wait_for
from tests.archive.studies import study, study_uid_of

ROOT = Path(__file__).resolve().parents[2]
LEASE_S = 2

STEPS = [
    ("mammoscope.archive.state:State.note", "after"),
    ("mammoscope.archive.worker:encode_results", "after"),
    ("mammoscope.archive.state:State.keep_results", "after"),
    ("requests:Session.post", "after"),  # the first of the results
    ("mammoscope.archive.state:State.finish", "before"),
    ("mammoscope.archive.state:State.finish", "after"),
]


@pytest.fixture
def environment(tmp_path: Path, compiled_folder: Path, orthanc: Orthanc) -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("MAMMOSCOPE_")
    }
    inherited.pop("KERAS_BACKEND", None)
    settings = {
        "STATE": f"sqlite:///{tmp_path / 'state.db'}",
        "DICOMWEB": orthanc.dicomweb,
        "QUIET_S": "0",
        "BACKOFF_S": "0.05",
        "LEASE_S": str(LEASE_S),
        "MAX_ATTEMPTS": "99",  # all kills may hit one study
        "METRICS_BIND": "",
    }
    return {
        **inherited,
        **{f"MAMMOSCOPE_ARCHIVE_{name}": value for name, value in settings.items()},
        "MAMMOSCOPE_MODEL": str(compiled_folder),
    }


COMMAND = ["archive", "worker", "--from", "2020-01-01", "--to", "2020-01-31", "--until-idle"]


def reports(orthanc: Orthanc) -> Counter[str]:
    return Counter(study_uid_of(file) for file in orthanc.instances("SR"))


def start(environment: dict[str, str], *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", *command, *COMMAND],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
    )


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Exit status and log; a worker that hangs would work on the studies of other tests."""
    try:
        _, log = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    return process.returncode, log.decode()


def run(environment: dict[str, str], *command: str) -> tuple[int, str]:
    return ended(start(environment, *command))


def test_a_worker_killed_at_each_step_reports_each_study_once(
    orthanc: Orthanc, environment: dict[str, str]
) -> None:
    uids = []
    for seed, step in enumerate(STEPS):
        images = study(100 + seed, views=1)
        uids.append(study_uid_of(images[0]))
        orthanc.store(*images)
        status, log = run(environment, "tests.archive.killed", *step)
        assert status == -signal.SIGKILL, (step, log)
    status, log = run(environment, "mammoscope")
    assert status == 0, log
    assert reports(orthanc) == dict.fromkeys(uids, 1)
    assert not re.search(r"PHANTOM|2\.25\.|Traceback", log)


def test_two_workers_share_a_queue_in_postgresql(
    orthanc: Orthanc, environment: dict[str, str], postgresql_state: str, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("k" * 32)
    shared = {
        **environment,
        "MAMMOSCOPE_ARCHIVE_STATE": postgresql_state,
        "MAMMOSCOPE_ARCHIVE_KEY_FILE": str(key),
    }
    studies = [study(200 + seed, views=1) for seed in range(8)]
    for images in studies:
        orthanc.store(*images)
    workers = [start(shared, "mammoscope") for _ in range(2)]
    wait_for(lambda: orthanc.instances("SR"))
    workers[0].kill()
    _, (status, log) = map(ended, workers)
    assert status == 0, log
    assert reports(orthanc) == {study_uid_of(images[0]): 1 for images in studies}


def test_sigterm_ends_a_worker_after_its_study(
    orthanc: Orthanc, environment: dict[str, str]
) -> None:
    command = [*COMMAND[:-1]]
    process = subprocess.Popen(
        [sys.executable, "-m", "mammoscope", *command],
        cwd=ROOT, env=environment, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    orthanc.store(*study(300, views=1))
    wait_for(lambda: orthanc.instances("SR"))
    time.sleep(0.2)
    process.terminate()
    assert process.wait(PATIENCE_S) == 0
