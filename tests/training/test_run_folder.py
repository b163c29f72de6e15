"""Allowed content of a run's folder at the start; checked without Keras."""

import subprocess
import sys
from pathlib import Path

import pytest

from mammoscope.errors import RunError
from mammoscope.settings.training import TrainConfig
from mammoscope.training.run_folder import CHECKPOINT_NAME, CONFIG_NAME, check_run, open_run

CONFIG = TrainConfig.from_preset("smoke", {})
OTHER = TrainConfig.from_preset("smoke", {"seed": 7})


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("config", [CONFIG, OTHER])
def test_a_run_without_an_epoch_may_be_started_over(
    config: TrainConfig, resume: bool, tmp_path: Path
) -> None:
    with open_run(CONFIG, tmp_path / "run", resume=False) as is_complete:
        assert not is_complete
    for name in ("environment.json", "split.csv"):  # the content if weights are unavailable
        (tmp_path / "run" / name).write_text("x")
    with open_run(config, tmp_path / "run", resume=resume) as is_complete:
        assert not is_complete
    stored = (tmp_path / "run" / CONFIG_NAME).read_bytes()
    assert TrainConfig.from_record(stored) == config


@pytest.mark.parametrize("name", [CHECKPOINT_NAME, "history.json", "card.json"])
def test_a_run_with_an_epoch_is_continued_or_refused(name: str, tmp_path: Path) -> None:
    with open_run(CONFIG, tmp_path, resume=False):
        pass
    (tmp_path / name).write_text("x")
    with pytest.raises(RunError, match="--resume"):
        check_run(CONFIG, tmp_path, resume=False)
    with pytest.raises(RunError, match="other values of seed"):
        check_run(OTHER, tmp_path, resume=True)
    assert check_run(CONFIG, tmp_path, resume=True) == (name == "card.json")


def test_a_folder_with_other_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(RunError, match="has no run"):
        check_run(CONFIG, tmp_path, resume=True)
    assert not check_run(CONFIG, tmp_path / "new", resume=False)
    assert not (tmp_path / "new").exists()
    with pytest.raises(RunError, match="has no run"), open_run(CONFIG, tmp_path, resume=True):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", [".DS_Store", ".config.json.ab12.partial"])
def test_hidden_files_of_systems_and_killed_trainings_are_no_content(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("x")
    assert not check_run(CONFIG, tmp_path, resume=False)
    with open_run(CONFIG, tmp_path, resume=False) as is_complete:
        assert not is_complete
    assert (tmp_path / name).exists() is not name.endswith(".partial")


HOLD = """
import sys
from pathlib import Path
from mammoscope.settings.training import TrainConfig
from mammoscope.training.run_folder import open_run

with open_run(TrainConfig.from_preset("smoke", {}), Path(sys.argv[1]), resume=True):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_only_one_training_uses_a_folder_and_a_killed_one_releases_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"open\n"
    before = (run / CONFIG_NAME).read_bytes()
    for resume in (False, True):
        with (
            pytest.raises(RunError, match="Another training is running in the output folder"),
            open_run(OTHER, run, resume=resume),
        ):
            pass
    assert (run / CONFIG_NAME).read_bytes() == before
    holder.kill()
    holder.communicate()
    (run / ".checkpoint.npz.01234567.partial").write_bytes(b"half")
    with open_run(CONFIG, run, resume=True):
        assert not [path for path in run.iterdir() if path.suffix == ".partial"]
