"""Allowed content of a run's folder at the start; checked without Keras."""

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
    assert not open_run(CONFIG, tmp_path / "run", resume=False)
    for name in ("environment.json", "split.csv"):  # the content if weights are unavailable
        (tmp_path / "run" / name).write_text("x")
    assert not open_run(config, tmp_path / "run", resume=resume)
    stored = (tmp_path / "run" / CONFIG_NAME).read_bytes()
    assert TrainConfig.from_record(stored) == config


@pytest.mark.parametrize("name", [CHECKPOINT_NAME, "history.json", "card.json"])
def test_a_run_with_an_epoch_is_continued_or_refused(name: str, tmp_path: Path) -> None:
    open_run(CONFIG, tmp_path, resume=False)
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
