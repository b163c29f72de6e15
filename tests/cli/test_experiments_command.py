import json
from pathlib import Path

import pytest

from mammoscope.__main__ import main


def entry(epoch: int, stage: str, auc: float) -> dict:
    return {
        "epoch": epoch,
        "stage": stage,
        "train": {"auc": 0.7},
        "validation": {"auc": auc, "breast_auc": 0.62, "within_machine_auc": None},
        "seconds": {"train": 90, "validation": 30},
    }


@pytest.fixture
def records(tmp_path: Path) -> Path:
    for name, history in {
        "first": [entry(0, "regression", 0.61), entry(1, "tune", 0.6), entry(2, "tune", 0.59)],
        "second": [
            entry(1, "tune", 0.55),
            entry(2, "tune", 0.57),
            entry(3, "tune", 0.54),
            entry(4, "tune", 0.56),
        ],
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"input_size": [96, 64]}))
        if name == "second":  # a run that did not measure its training images
            history[0]["train"] = None
        (tmp_path / name / "history.json").write_text(json.dumps(history))
    return tmp_path


def test_records_are_listed_with_their_first_and_last_epoch(records, capsys):
    assert main(["dev", "experiments", str(records)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines == [
        ["first", "96x64", "0", "0.700", "0.610", "0.620", "–", "2.0"],
        ["first", "96x64", "2", "0.700", "0.590", "0.620", "–", "6.0"],
        ["second", "96x64", "1", "–", "0.550", "0.620", "–", "2.0"],
        ["second", "96x64", "2", "0.700", "0.570", "0.620", "–", "4.0"],
        ["second", "96x64", "4", "0.700", "0.560", "0.620", "–", "8.0"],
    ]


def test_backbone_and_tuning_runs_are_listed_only_when_asked_for(records, capsys):
    (records / "second").rename(records / "tuning-second")
    assert main(["dev", "experiments", str(records)]) == 0
    out = capsys.readouterr().out
    assert "second" not in out
    assert out.endswith("1 backbone and tuning runs are not shown; --all lists them.\n")
    assert main(["dev", "experiments", str(records), "--all"]) == 0
    assert "second" in capsys.readouterr().out


def test_a_long_name_does_not_overlap_the_next_column(records, capsys):
    (records / "first").rename(records / "a-name-longer-than-any-other-of-them")
    assert main(["dev", "experiments", str(records)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.index("96x64") for line in lines[1:]} == {lines[0].index("input")}


def test_intervals_and_changed_settings_are_printed(records, capsys):
    config = {"input_size": [96, 64], "weights": "a.h5", "head": "depths", "batch_size": 32}
    (records / "second" / "config.json").write_text(json.dumps(config))
    metrics = {"validation": {"auc": {"value": 0.57, "low": 0.5, "high": 0.64}}}
    (records / "second" / "metrics.json").write_text(json.dumps(metrics))
    assert main(["dev", "experiments", str(records)]) == 0
    *_, last, changes = capsys.readouterr().out.splitlines()
    assert "0.570 (0.500–0.640)" in last
    assert changes.split(", ") == ["    head depths"]


def test_damaged_and_missing_records_are_refused(records, tmp_path, capsys):
    assert main(["dev", "experiments", str(tmp_path / "nowhere")]) == 1
    (records / "first" / "history.json").write_text("[{}]")
    assert main(["dev", "experiments", str(records)]) == 1
    assert "damaged" in capsys.readouterr().err


def test_the_committed_records_are_listed(capsys):
    assert main(["dev", "experiments"]) == 0
    assert "released" in capsys.readouterr().out
