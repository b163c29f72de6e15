"""A network trained on the patients of all folds, and measured by the networks of the folds."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mammoscope.__main__ import main
from mammoscope.cli.release import copy_record
from mammoscope.data.dataset import Dataset, read_dataset
from mammoscope.data.fold_table import assign_folds
from mammoscope.data.split_table import hashed, write_split
from mammoscope.errors import ConfigurationError, LeakageError, RunError
from mammoscope.evaluation.out_of_fold import (
    average_runs,
    calibrated_log_odds,
    on_one_scale,
    read_fold_scores,
)
from mammoscope.model.artifact.folder import load_artifact
from mammoscope.phantoms.drawing import write_phantom_dataset
from mammoscope.settings.training import TrainConfig
from mammoscope.training.batches import PreprocessedExamples
from mammoscope.training.fold_logits import fold_answers
from mammoscope.training.recipes import read_plan
from mammoscope.training.run_folder import RunPaths
from mammoscope.training.training_run import train

pytestmark = pytest.mark.training

SMOKE = {"drop_rate": 0.0, "epochs": 2, "head_epochs": 0}

PLAN = """
[[run]]
name = "by-fold"
preset = "smoke"
folds = 5

[[run]]
name = "all"
preset = "smoke"
calibrated_on = ["by-fold"]
"""


def write_fold_runs(dataset: Dataset, folder: Path, seed: int = 0, **settings: object) -> None:
    """Runs of five folds as if trained: logits on another scale in each fold."""
    pool = [each for each in dataset.examples if each.split != "test"]
    fold_of = assign_folds(pool)
    random = np.random.default_rng(seed)
    for number in range(1, 6):
        run = folder / f"fold-{number}"
        run.mkdir(parents=True)
        config = TrainConfig.from_preset("smoke", {**SMOKE, **settings, "fold": number})
        (run / "config.json").write_text(json.dumps(config.to_record()))
        fold = [each for each in pool if fold_of[hashed(each.patient_id)] == number]
        others = [each for each in pool if fold_of[hashed(each.patient_id)] != number]
        write_split(run, {"train": others, "validation": fold, "test": dataset.split("test")})
        with (run / "validation_scores.csv").open("w", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(("file", "label", "patient", "breast", "logit", "probability"))
            for each in fold:
                logit = number * (each.label + random.normal()) + number
                breast = f"{each.patient_id} {each.facts.laterality}"
                table.writerow((each.name, each.label, each.patient_id, breast, logit, 0.5))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    write_phantom_dataset(folder, patients=30, metadata=True)
    return folder


@pytest.fixture(scope="module")
def runs(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of the folds, and those of a network and its quantised form trained on all."""
    from mammoscope.model import networks
    from tests.training import small_network

    folder = tmp_path_factory.mktemp("runs")
    write_fold_runs(read_dataset(images), folder / "by-fold")
    write_fold_runs(read_dataset(images), folder / "other", 1, input_size=(128, 96))
    both = (str(folder / "by-fold"), str(folder / "other"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks._BACKBONES, "inceptionv3", small_network.SMALL)
        for name, changes in (
            ("all", {}),
            ("student", {"teachers": both, "calibrated_on": both}),
            ("all-quantised", {"weights": str(folder / "all" / "model.keras"), "quantised": True}),
        ):
            settings = {**SMOKE, "calibrated_on": both[:1], **changes}
            config = TrainConfig.from_preset("smoke", settings)
            train(config, RunPaths(images, folder / name, folder / "cache"), print)
    return folder


def rows_of(run: Path) -> dict[str, dict[str, str]]:
    with (run / "validation_scores.csv").open(newline="") as stream:
        return {row["file"]: row for row in csv.DictReader(stream)}


def parts_of(run: Path) -> dict[str, str]:
    with (run / "split.csv").open(newline="") as stream:
        return {row["file"]: row["part"] for row in csv.DictReader(stream)}


def test_all_patients_are_learned_and_each_is_measured_by_its_fold(runs: Path):
    parts = parts_of(runs / "all")
    assert "validation" not in parts.values()
    learned = {file for file, part in parts.items() if part == "train"}
    measured = rows_of(runs / "all")
    assert measured.keys() == learned
    for number in range(1, 6):
        fold = rows_of(runs / "by-fold" / f"fold-{number}")
        files = sorted(fold)
        # One scale moves and stretches the logits of a fold, and keeps their order and labels.
        theirs, ours = (
            np.array([float(rows[file]["logit"]) for file in files]) for rows in (fold, measured)
        )
        slope, intercept = np.polyfit(theirs, ours, 1)
        assert slope > 0
        np.testing.assert_allclose(slope * theirs + intercept, ours, atol=1e-4)
        assert [fold[file]["label"] for file in files] == [measured[f]["label"] for f in files]


def test_probabilities_are_those_of_the_other_folds(runs: Path):
    """The card's calibration gives each fold what the calibration on the others gives."""
    card = load_artifact(runs / "all").require_card()
    measured = rows_of(runs / "all")
    folds = read_fold_scores(runs / "by-fold", "file")
    for fold, moved in zip(folds, on_one_scale(folds), strict=True):
        ours = [float(measured[name]["logit"]) for name in fold.digests]
        np.testing.assert_allclose(ours, moved.scored.logits, atol=1e-4)
    labels = np.array([int(row["label"]) for row in measured.values()])
    assert card.metrics["validation"]["by_folds"] == "by-fold"
    probabilities = np.array([float(row["probability"]) for row in measured.values()])
    assert probabilities.mean() == pytest.approx(labels.mean(), abs=0.02)
    facts = card.training["data"]
    assert facts["kind"] == "patients of all folds, measured by by-fold"
    assert facts["train"]["images"] == facts["validation"]["images"] == len(measured)


def test_a_quantised_network_is_compared_on_the_images_it_learned(runs: Path):
    card = load_artifact(runs / "all-quantised").require_card()
    assert card.quantisation is not None
    compared = card.quantisation.comparison
    assert compared.source == "training"
    assert compared.images == len(rows_of(runs / "all"))
    exact, rounded = (
        load_artifact(runs / name).require_card().calibration for name in ("all", "all-quantised")
    )
    assert exact == rounded


def test_the_record_says_how_it_was_measured(
    runs: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    record = copy_record(runs / "all", images, tmp_path)
    assert json.loads((record / "config.json").read_text())["calibrated_on"] == ["by-fold"]
    history = json.loads((record / "history.json").read_text())
    assert [entry["validation"] for entry in history] == [{}, {}]
    assert main(["dev", "experiments", str(tmp_path)]) == 0
    assert "calibrated_on ['by-fold']" in capsys.readouterr().out


def test_a_student_learns_and_is_measured_by_the_mean_of_its_teachers(runs: Path, images: Path):
    card = load_artifact(runs / "student").require_card()
    assert card.metrics["validation"]["by_folds"] == "by-fold+other"
    measured = rows_of(runs / "student")
    teachers = [read_fold_scores(runs / name, "file") for name in ("by-fold", "other")]
    mean = calibrated_log_odds(average_runs(teachers))
    for fold in mean:
        ours = [float(measured[name]["logit"]) for name in fold.digests]
        np.testing.assert_allclose(ours, fold.scored.logits, atol=1e-4)
    config = TrainConfig.from_preset("smoke", {**SMOKE, "teachers": paths_of(runs)})
    dataset = read_dataset(images)
    learned = PreprocessedExamples(dataset.split("train", "valid"), np.zeros((0, 1, 1)), (), {})
    answers = fold_answers(learned, dataset.split("test"), config)
    logits = np.array([float(measured[each.name]["logit"]) for each in learned.examples])
    np.testing.assert_allclose(np.log(answers / (1 - answers)), logits, atol=1e-3)


def paths_of(runs: Path) -> tuple[str, ...]:
    return str(runs / "by-fold"), str(runs / "other")


def test_teachers_of_test_patients_are_refused(runs: Path, images: Path, tmp_path: Path):
    teacher = tmp_path / "by-fold"
    shutil.copytree(runs / "by-fold", teacher)
    split = teacher / "fold-4" / "split.csv"
    split.write_text(split.read_text().replace(",test,", ",train,"))
    changes = {**SMOKE, "teachers": (str(teacher),), "calibrated_on": (str(teacher),)}
    config = TrainConfig.from_preset("smoke", changes)
    with pytest.raises(LeakageError, match="fold-4 was trained on validation or test patients"):
        train(config, RunPaths(images, tmp_path / "a", tmp_path / "cache"), print)


def test_a_recipe_trains_the_folds_first(tmp_path: Path):
    (tmp_path / "plan.toml").write_text(PLAN)
    *folds, last = read_plan(tmp_path / "plan.toml")
    assert last.needs == tuple(fold.name for fold in folds)
    assert last.config_in(tmp_path).calibrated_on == (str(tmp_path / "by-fold"),)
    student = PLAN.replace(
        'calibrated_on = ["by-fold"]', 'calibrated_on = ["by-fold"]\nteachers = ["by-fold"]'
    )
    (tmp_path / "plan.toml").write_text(student)
    *_, last = read_plan(tmp_path / "plan.toml")
    assert last.needs == tuple(fold.name for fold in folds)
    assert last.config_in(tmp_path).teachers == (str(tmp_path / "by-fold"),)
    (tmp_path / "plan.toml").write_text(PLAN.replace("folds = 5", "folds = 2"))
    with pytest.raises(ConfigurationError, match="Run all needs by-fold/fold-3"):
        read_plan(tmp_path / "plan.toml")


@pytest.mark.usefixtures("small_network")
def test_folds_of_other_images_are_refused(runs: Path, images: Path, tmp_path: Path):
    for number in range(1, 6):
        source, copy = (each / f"fold-{number}" for each in (runs / "by-fold", tmp_path / "folds"))
        copy.mkdir(parents=True)
        for name in ("config.json", "validation_scores.csv"):
            text = (source / name).read_text()
            if number == 3 and name == "validation_scores.csv":
                text = text[: text.rindex("\n", 0, -1) + 1]
            (copy / name).write_text(text)
    changes = {**SMOKE, "epochs": 1, "calibrated_on": (str(tmp_path / "folds"),)}
    config = TrainConfig.from_preset("smoke", changes)
    with pytest.raises(RunError, match="validated on other images"):
        train(config, RunPaths(images, tmp_path / "a", tmp_path / "cache"), print)
    larger = config.model_copy(update={"input_size": (128, 96)})
    assert not (tmp_path / "a" / "history.json").exists(), "before any epoch"
    with pytest.raises(RunError, match="fold-1 differs from the new network in input_size"):
        train(larger, RunPaths(images, tmp_path / "b", tmp_path / "cache"), print)


@pytest.mark.parametrize(
    "other", [{"fold": 1}, {"layout": "lesions"}, {"schedule": "plateau"}], ids=str
)
def test_what_needs_other_patients_cannot_be_combined(other: dict[str, object]):
    with pytest.raises(ConfigurationError, match="calibrated_on needs no fold"):
        TrainConfig.from_preset("default", {"calibrated_on": ("runs/by-fold",), **other})
