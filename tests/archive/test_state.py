"""The queue keeps every study, in SQLite and in PostgreSQL alike."""

import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from mammoscope.archive.results import ResultObject
from mammoscope.archive.state import LeaseLostError, Sighting, Stage, State
from mammoscope.errors import (
    ArchiveRefusedError,
    ConfigurationError,
    NotAMammogramError,
    StateError,
)
from tests.archive.servers import PATIENCE_S

STUDY = "1.2.826.0.1.3680043.8.498.1"
IMAGES = [f"{STUDY}.{number}" for number in range(4)]
RESULTS = [
    ResultObject("1.2.3", f"{STUDY}.90", f"{STUDY}.91", STUDY, "1.2.840.10008.1.2.1", data)
    for data in (b"DICM Doe^Jane \x00\xff", bytes(range(256)) * 99)
]
LEASE_S = 30.0
WORKERS = 8


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    url: str = request.getfixturevalue("postgresql_state")
    return url


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("k" * 32)
    return path


@pytest.fixture
def state(url: str, key_file: Path):
    with State(url, key_file) as state:
        yield state


def note(state: State, images=IMAGES, model="1", quiet_s=0.0, **facts) -> bool:
    return state.note(Sighting(STUDY, images, **facts), model, quiet_s)


def claimed(state: State, lease_s: float = LEASE_S):
    claim = state.claim([], lease_s)
    assert claim is not None
    return claim


def report(state: State, model: str = "1") -> None:
    """Work on the one study until its results are stored."""
    claim = claimed(state)
    state.keep_results(claim, RESULTS, model)
    state.finish(claim, RESULTS[0].sop_instance_uid)


def only_stage(state: State) -> Stage:
    (stage,) = [stage for stage, number in state.counts().items() if number]
    return stage


def test_a_study_is_received_predicted_and_stored(state: State) -> None:
    assert note(state)
    assert only_stage(state) is Stage.RECEIVED
    claim = claimed(state)
    assert (claim.study_uid, claim.attempts) == (STUDY, 1)
    assert claim.images == state.image_hashes(IMAGES)
    state.keep_results(claim, RESULTS, "1")
    assert only_stage(state) is Stage.PREDICTED
    assert state.results(claim) == RESULTS
    state.finish(claim, RESULTS[0].sop_instance_uid)
    assert only_stage(state) is Stage.STORED
    assert state.claim([], LEASE_S) is None


def test_a_reported_study_is_not_work_again_until_it_has_new_images_or_a_new_model(
    state: State,
) -> None:
    assert note(state, instances=4)
    report(state)
    assert not note(state, instances=6)
    assert state.instances(STUDY, "1") == 6
    assert not note(state, IMAGES[:2])
    assert state.instances(STUDY, "2") is None
    assert note(state, model="2")
    report(state, "2")
    assert note(state, [*IMAGES, f"{STUDY}.5"], model="2")
    claim = claimed(state)
    assert len(claim.images) == 5
    assert claim.report == state.hash("report", RESULTS[0].sop_instance_uid)


def test_a_study_is_complete_after_a_quiet_time(state: State) -> None:
    note(state, IMAGES[:1], quiet_s=3600)
    assert state.claim([], LEASE_S) is None
    note(state, IMAGES[:2])
    assert len(claimed(state).images) == 2


def test_a_result_about_fewer_images_is_not_kept(state: State) -> None:
    note(state, IMAGES[:3])
    claim = claimed(state)
    note(state, IMAGES)
    with pytest.raises(LeaseLostError):
        state.keep_results(claim, RESULTS, "1")
    state.release(claim)
    again = claimed(state)
    assert len(again.images) == 4
    assert again.attempts == 1
    assert state.results(again) == []


@pytest.mark.parametrize("failed", [False, True])
def test_images_that_come_while_results_are_sent_make_another_report(
    state: State, failed: bool
) -> None:
    note(state, IMAGES[:3])
    claim = claimed(state)
    state.keep_results(claim, RESULTS, "1")
    if failed:
        state.fail(claim, ArchiveRefusedError("Refused."), "1")
    assert note(state, IMAGES)
    if failed:
        claim = claimed(state)
    assert state.results(claim) == RESULTS
    state.finish(claim, RESULTS[0].sop_instance_uid)
    assert only_stage(state) is Stage.RECEIVED
    assert len(claimed(state).images) == 4
    report_count = len(state.results(claim))
    assert report_count == 0


def test_a_worker_that_ended_is_replaced_after_its_lease(state: State, url, key_file) -> None:
    note(state)
    first = claimed(state, lease_s=0.2)
    with State(url, key_file) as other:
        time.sleep(0.3)
        second = claimed(other)
        assert second.attempts == 2
        with pytest.raises(LeaseLostError):
            state.keep_results(first, RESULTS, "1")
        with pytest.raises(LeaseLostError):
            state.renew(first, LEASE_S)
        other.renew(second, LEASE_S)
        assert state.claim([], LEASE_S) is None
        other.keep_results(second, RESULTS, "1")


def test_two_workers_share_a_queue_without_taking_a_study_twice(url, key_file) -> None:
    taken: list[str] = []
    with State(url, key_file) as state:
        for number in range(20):
            state.note(Sighting(f"1.2.{number}", [f"1.2.{number}.1"]), "1", 0.0)

    def work() -> None:
        with State(url, key_file) as mine:
            while claim := mine.claim([], LEASE_S):
                taken.append(claim.study_uid)
                mine.keep_results(claim, RESULTS, "1")
                mine.finish(claim, "1.2.3")

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(f"1.2.{number}" for number in range(20))


def test_a_failed_study_is_listed_and_can_be_tried_again(state: State) -> None:
    note(state)
    state.fail(claimed(state), ArchiveRefusedError("The archive refuses."), "1")
    (failure,) = state.failures()
    assert (failure.code, failure.reason) == ("archive_refused", "The archive refuses.")
    assert (failure.study_uid, failure.attempts) == (STUDY, 1)
    assert state.claim([], LEASE_S) is None
    assert not note(state)
    assert state.retry([failure.id[:8]]) == 1
    assert claimed(state).attempts == 1
    assert state.retry() == 0


def test_a_study_that_failed_to_be_stored_is_sent_again_and_not_predicted_again(
    state: State,
) -> None:
    note(state)
    claim = claimed(state)
    state.keep_results(claim, RESULTS, "1")
    state.fail(claim, ArchiveRefusedError("The archive refuses."), "1")
    state.retry()
    claim = claimed(state)
    assert claim.stage is Stage.PREDICTED
    assert state.results(claim) == RESULTS


def test_a_postponed_study_waits(state: State) -> None:
    note(state)
    state.postpone(claimed(state), 3600)
    assert state.claim([], LEASE_S) is None
    assert state.oldest_s() >= 0.0


def test_a_study_without_images_to_predict_is_left_out(state: State) -> None:
    note(state)
    state.leave_out(claimed(state), NotAMammogramError("It shows a specimen."), "1")
    assert only_stage(state) is Stage.LEFT_OUT
    assert not note(state)
    assert note(state, model="2")


def test_a_study_in_another_workers_spool_is_not_taken(state: State) -> None:
    note(state, spool="theirs")
    assert state.claim(["mine"], LEASE_S) is None
    claim = state.claim(["theirs"], LEASE_S)
    assert claim is not None
    assert state.holds("theirs", claim.id)
    state.keep_results(claim, RESULTS, "1")
    state.finish(claim, "1.2.3")
    assert not state.holds("theirs", claim.id)


def test_the_state_has_no_uid_and_no_name_in_clear(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with State(f"sqlite:///{path}") as state:
        note(state)
        state.keep_results(claimed(state), RESULTS, "1")
        content = b"".join(file.read_bytes() for file in tmp_path.glob("state.db*"))
        assert len(content) > len(RESULTS[1].data)
        for secret in (STUDY.encode(), b"Doe^Jane", bytes(range(256))):
            assert secret not in content
    assert (tmp_path / "state.db.key").stat().st_mode & 0o077 == 0


def test_of_finished_work_only_hashes_stay(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with State(f"sqlite:///{path}") as state:
        note(state)
        report(state)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT uid FROM studies").fetchall() == [(None,)]
        assert connection.execute("SELECT count(*) FROM results").fetchall() == [(0,)]


def test_another_key_is_refused(state: State, url: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("o" * 32)
    with pytest.raises(ConfigurationError, match="another key"):
        State(url, other)
    other.write_text("short")
    with pytest.raises(ConfigurationError, match="at least 32"):
        State(url, other)


@pytest.mark.parametrize("url", ["mysql://user:secret@host/x", "sqlite://", "state.db", ""])
def test_other_databases_are_refused_without_their_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        State(url)
    assert "secret" not in str(caught.value)


def test_a_state_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        State(f"sqlite:///{tmp_path / 'missing' / 'state.db'}")
    key = tmp_path / "key"
    key.write_text("k" * 32)
    with pytest.raises(StateError):
        State("postgresql://nobody@127.0.0.1:1/none", key)


def test_results_survive_a_kill_right_after_they_were_kept(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    program = f"""
import os, signal
from tests.archive.test_state import RESULTS, note
from mammoscope.archive.state import State
state = State({url!r})
note(state)
claim = state.claim([], 0.2)
state.keep_results(claim, RESULTS, "1")
os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(__file__).resolve().parents[2]
    killed = subprocess.run([sys.executable, "-c", program], cwd=root, check=False)
    assert killed.returncode == -9
    time.sleep(0.3)
    with State(url) as state:
        claim = claimed(state)
        assert claim.stage is Stage.PREDICTED
        assert state.results(claim) == RESULTS


def test_the_password_may_stand_in_a_service_file(
    postgresql_state: str, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = make_url(postgresql_state)
    services = tmp_path / "pg_service.conf"
    services.write_text(
        f"[mammoscope]\nhost={address.host}\nport={address.port}\nuser={address.username}\n"
        f"dbname={address.database}\npassword=not-asked-for\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    with State("postgresql:///?service=mammoscope", key_file) as state:
        assert note(state)
    with State(postgresql_state, key_file) as state:
        assert claimed(state).study_uid == STUDY


def test_workers_that_start_at_once_share_a_new_state(
    postgresql_state: str, key_file: Path
) -> None:
    at_once = threading.Barrier(WORKERS)

    def start(_: int) -> int:
        at_once.wait(PATIENCE_S)
        with State(postgresql_state, key_file) as state:
            return state.pending()

    with ThreadPoolExecutor(WORKERS) as threads:
        assert list(threads.map(start, range(WORKERS))) == [0] * WORKERS
