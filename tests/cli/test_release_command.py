"""Content that a release must and must not have."""

import csv
import json
from pathlib import Path

import pytest

from mammoscope.__main__ import main
from mammoscope.model.artifact.card import Card
from mammoscope.model.artifact.folder import load_artifact, sha256_of, write_card
from mammoscope.settings.training import TrainConfig
from tests.full_disk import FullDisk


@pytest.fixture
def training_run(phantom_dataset: Path, tmp_path: Path) -> Path:
    run = tmp_path / "somewhere" / "first-try"
    run.mkdir(parents=True)
    (run / "model.keras").write_bytes(b"weights")
    write_card(
        run,
        Card(
            version="1",
            sha256=sha256_of(run / "model.keras"),
            input_size=(96, 96),
            metrics={"validation": {"auc": {"value": 0.6}}},
        ),
    )
    config = TrainConfig.from_preset("smoke", {"weights": "/home/person/weights.h5"})
    (run / "config.json").write_text(config.model_dump_json())
    (run / "history.json").write_text("[]")
    (run / "environment.json").write_text("{}")
    images = sorted((phantom_dataset / "valid").rglob("*.jpg"))
    lines = ["file,label,patient,breast,logit,probability"]
    for path in images:
        patient = path.name.split("_")[0]
        lines.append(f"{path.name},{path.parent.name},{patient},{patient}/L,0.5,0.6")
    (run / "validation_scores.csv").write_text("\n".join(lines) + "\n")
    parts = [f"{path.name},0,{path.name.split('_')[0]},validation" for path in images]
    (run / "split.csv").write_text("\n".join(["file,label,patient_id,part", *parts]) + "\n")
    return run


def release(*arguments: object) -> int:
    return main(["dev", "release", *map(str, arguments)])


def test_a_release_is_a_model_folder_with_a_record(training_run, phantom_dataset, tmp_path, capsys):
    to = tmp_path / "model"
    assert release(training_run, "--data", phantom_dataset, "--output", to) == 0
    assert str(to) in capsys.readouterr().out
    card = load_artifact(to).card
    assert card is not None
    record = to / "experiments" / "first-try"
    assert json.loads((record / "metrics.json").read_text())["model_version"] == card.version
    with (record / "validation_scores.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    hashes = {sha256_of(path): path for path in phantom_dataset.rglob("*.jpg")}
    assert {row["sha256"] for row in rows} <= set(hashes)
    patients = {hashes[row["sha256"]].name.split("_")[0] for row in rows}
    assert len({row["patient"] for row in rows}) == len(patients)
    with (record / "split.csv").open() as stream:
        split = list(csv.DictReader(stream))
    assert {row["patient"] for row in split} == {row["patient"] for row in rows}
    assert {row["part"] for row in split} == {"validation"}


def test_a_network_compiled_from_an_earlier_model_is_removed(
    training_run, phantom_dataset, tmp_path
):
    to = tmp_path / "model"
    (to / "compiled").mkdir(parents=True)
    (to / "compiled" / "network.bin").write_bytes(b"of another model")
    assert release(training_run, "--data", phantom_dataset, "--output", to) == 0
    assert sorted(path.name for path in to.iterdir()) == [
        "card.json", "experiments", "model.keras"
    ]  # fmt: skip


def test_no_name_id_or_path_is_released(training_run, phantom_dataset, tmp_path):
    to = tmp_path / "model"
    release(training_run, "--data", phantom_dataset, "--output", to)
    released = "".join(
        path.read_text() for path in to.rglob("*") if path.suffix in (".json", ".csv")
    )
    assert "weights.h5" in released
    assert "/home" not in released
    assert ".jpg" not in released
    for path in (phantom_dataset / "valid").rglob("*.jpg"):
        assert f",{path.name.split('_')[0]}" not in released


def test_the_record_can_be_copied_alone(training_run, phantom_dataset, tmp_path):
    to = tmp_path / "model"
    assert release(training_run, "--data", phantom_dataset, "--output", to, "--record-only") == 0
    assert not (to / "model.keras").exists()
    assert (to / "experiments" / "first-try" / "config.json").is_file()


def test_the_record_of_a_stopped_run_can_be_copied(training_run, phantom_dataset, tmp_path):
    to = tmp_path / "model"
    for name in ("model.keras", "card.json", "validation_scores.csv"):
        (training_run / name).unlink()
    assert release(training_run, "--data", phantom_dataset, "--output", to) == 1
    assert release(training_run, "--data", phantom_dataset, "--output", to, "--record-only") == 0
    names = {path.name for path in (to / "experiments" / "first-try").iterdir()}
    assert names == {"config.json", "history.json", "environment.json"}


def test_incomplete_runs_are_refused(training_run, phantom_dataset, tmp_path, capsys):
    to = tmp_path / "model"
    scores = training_run / "validation_scores.csv"
    scores.write_text(scores.read_text().replace(".jpg", ".other"))
    assert release(training_run, "--data", phantom_dataset, "--output", to) == 1
    assert "belongs to other images" in capsys.readouterr().err
    (training_run / "model.keras").write_bytes(b"changed")
    assert release(training_run, "--data", phantom_dataset, "--output", to) == 1
    assert "sha256" in capsys.readouterr().err
    assert not to.exists()
    assert release(tmp_path, "--data", phantom_dataset, "--output", to) == 1


def test_an_unwritable_release_is_reported(training_run, phantom_dataset, capsys):
    assert release(training_run, "--data", phantom_dataset, "--output", "/dev/full/model") == 1
    assert "cannot be written" in capsys.readouterr().err


def test_a_failure_at_any_step_keeps_the_existing_model_and_record(
    training_run, phantom_dataset, tmp_path, monkeypatch
):
    to = tmp_path / "model"
    assert release(training_run, "--data", phantom_dataset, "--output", to) == 0
    (to / "MODEL_CARD.md").write_text("written by hand")

    def contents() -> dict[str, bytes]:
        files = (path for path in to.rglob("*") if path.is_file())
        return {str(path.relative_to(to)): path.read_bytes() for path in files}

    earlier = contents()
    (training_run / "model.keras").write_bytes(b"other weights")
    write_card(
        training_run,
        Card(
            version="2",
            sha256=sha256_of(training_run / "model.keras"),
            input_size=(96, 96),
            metrics={"validation": {"auc": {"value": 0.7}}},
        ),
    )
    (training_run / "history.json").write_text("[1]")
    disk = FullDisk(monkeypatch)
    failures = {"record": 0, "model": 0}
    for step in range(1, 100):
        disk.left = step
        if release(training_run, "--data", phantom_dataset, "--output", to) == 0:
            break
        found = contents()
        model = {"model.keras", "card.json", "MODEL_CARD.md"}
        assert {name: found[name] for name in model} == {name: earlier[name] for name in model}
        assert found.keys() == earlier.keys()
        changed = {name for name in found if found[name] != earlier[name]}
        # The record is written first, completely or not at all.
        assert changed in (
            set(),
            {"experiments/first-try/history.json", "experiments/first-try/metrics.json"},
        )
        failures["model" if changed else "record"] += 1
    assert min(failures.values()) >= 3
    card = load_artifact(to).card
    assert card is not None
    assert card.version == "2"
    assert contents()["MODEL_CARD.md"] == b"written by hand"
