"""What a release holds, and what it must not hold."""

import csv
import json
from pathlib import Path

import pytest

from mammoscope.__main__ import main
from mammoscope.model.artifact import (
    Card,
    CardComparison,
    CardCompiled,
    CardFile,
    load_artifact,
    sha256_of,
    write_card,
)
from mammoscope.settings import TrainConfig


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
    return main(["release", *map(str, arguments)])


def test_a_release_is_a_model_folder_with_a_record(training_run, phantom_dataset, tmp_path, capsys):
    to = tmp_path / "model"
    assert release(training_run, "--data", phantom_dataset, "--to", to) == 0
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


def test_what_was_compiled_goes_along(training_run, phantom_dataset, tmp_path):
    to = tmp_path / "model"
    assert release(training_run, "--data", phantom_dataset, "--to", to) == 0
    assert not (to / "model.bin").exists()
    for name in ("model.xml", "model.bin"):
        (training_run / name).write_text(name)
    plain = load_artifact(training_run).card
    assert plain is not None
    compiled = CardCompiled(
        kind="int8",
        source_sha256=plain.sha256,
        topology=CardFile(name="model.xml", sha256=sha256_of(training_run / "model.xml")),
        weights=CardFile(name="model.bin", sha256=sha256_of(training_run / "model.bin")),
        method="quantised",
        speed=2.0,
        comparison=CardComparison(
            source="pictures", pictures=1, positives=1, auc_float=1, auc_compiled=1,
            max_difference=0, percentile_95_difference=0, mean_difference=0, labels_changed=0,
            allowed_auc_difference=0.005, allowed_difference=0.03,
        ),
    )  # fmt: skip
    write_card(training_run, plain.model_copy(update={"compiled": compiled}))
    assert release(training_run, "--data", phantom_dataset, "--to", to) == 0
    assert load_artifact(to).compiled is not None
    write_card(training_run, plain)
    assert release(training_run, "--data", phantom_dataset, "--to", to) == 0
    assert load_artifact(to).compiled is None
    assert not (to / "model.bin").exists()


def test_no_name_id_or_path_is_released(training_run, phantom_dataset, tmp_path):
    to = tmp_path / "model"
    release(training_run, "--data", phantom_dataset, "--to", to)
    released = "".join(
        path.read_text() for path in to.rglob("*") if path.suffix in (".json", ".csv")
    )
    assert "weights.h5" in released
    assert "/home" not in released
    assert ".jpg" not in released
    for path in (phantom_dataset / "valid").rglob("*.jpg"):
        assert f",{path.name.split('_')[0]}" not in released


def test_the_record_alone(training_run, phantom_dataset, tmp_path):
    to = tmp_path / "model"
    assert release(training_run, "--data", phantom_dataset, "--to", to, "--record-only") == 0
    assert not (to / "model.keras").exists()
    assert (to / "experiments" / "first-try" / "config.json").is_file()


def test_the_record_of_a_run_that_was_stopped(training_run, phantom_dataset, tmp_path):
    to = tmp_path / "model"
    for name in ("model.keras", "card.json", "validation_scores.csv"):
        (training_run / name).unlink()
    assert release(training_run, "--data", phantom_dataset, "--to", to) == 1
    assert release(training_run, "--data", phantom_dataset, "--to", to, "--record-only") == 0
    names = {path.name for path in (to / "experiments" / "first-try").iterdir()}
    assert names == {"config.json", "history.json", "environment.json"}


def test_what_cannot_be_released(training_run, phantom_dataset, tmp_path, capsys):
    to = tmp_path / "model"
    scores = training_run / "validation_scores.csv"
    scores.write_text(scores.read_text().replace(".jpg", ".other"))
    assert release(training_run, "--data", phantom_dataset, "--to", to) == 1
    assert "belongs to other images" in capsys.readouterr().err
    (training_run / "model.keras").write_bytes(b"changed")
    assert release(training_run, "--data", phantom_dataset, "--to", to) == 1
    assert "sha256" in capsys.readouterr().err
    assert not to.exists()
    assert release(tmp_path, "--data", phantom_dataset, "--to", to) == 1


def test_a_release_that_cannot_be_written(training_run, phantom_dataset, capsys):
    assert release(training_run, "--data", phantom_dataset, "--to", "/dev/full/model") == 1
    assert "cannot be written" in capsys.readouterr().err
