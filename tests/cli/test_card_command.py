"""Adding measured results to the card, and rendering the card as Markdown."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mammoscope.__main__ import main
from mammoscope.evaluation.metrics.assessment import evaluate_scores
from mammoscope.evaluation.metrics.scored import Scored
from mammoscope.model.artifact.card import Card, CardComparison, CardCompiled, CardQuantisation
from mammoscope.model.artifact.folder import load_artifact, sha256_of, write_card
from mammoscope.model.calibration import AgeCalibration
from mammoscope.model.prediction import RESEARCH_USE_NOTICE
from mammoscope.reports.modelcard import render

ROOT = Path(__file__).resolve().parents[2]


def measured(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    labels = np.arange(200) % 2
    scored = Scored.of(labels, rng.normal(labels - 0.5, 1.0))
    found = evaluate_scores(
        scored,
        groups={"machine": [str(i % 3) for i in range(200)]},
        thresholds={"default": 0.5},
        resamples=50,
    )
    return found.to_json()


def model_folder(folder: Path, version: str, seed: int) -> Path:
    folder.mkdir()
    (folder / "model.keras").write_bytes(version.encode())
    card = Card(
        version=version,
        sha256=sha256_of(folder / "model.keras"),
        input_size=(96, 72),
        age_calibration=AgeCalibration(slope=1.0, intercept=0.1, per_decade=0.3),
        metrics={"validation": {**measured(seed), "with_age": measured(seed + 1)}},
    )
    write_card(folder, card)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "model", "ours-1", 1)


def results(path: Path, version: str, content: dict) -> Path:
    path.write_text(json.dumps({"model_version": version, **content}))
    return path


def card(*arguments: object) -> int:
    return main(["dev", "card", *map(str, arguments)])


def test_results_are_in_the_card_and_its_markdown(model: Path, tmp_path: Path):
    test = measured(5)
    evaluated = {
        **test,
        "refused": {"count": 3, "codes": {"not_a_mammogram": 3}},
        "with_age": None,
        "shortcuts": {"age": {"value": 0.61, "low": 0.5, "high": 0.7}},
    }
    reference = model_folder(tmp_path / "reference", "theirs-1", 9)
    about = tmp_path / "about.toml"
    about.write_text(
        'name = "a test"\n[statements]\n"Intended use" = "None at all."\n'
        '[published]\naccuracy = 0.6725\n[claim]\n"1 Title" = "there"\n'
    )
    status = card(
        "--model", model, "--about", about,
        "--test", results(tmp_path / "test.json", "ours-1", evaluated),
        "--reference", reference,
        "--reference-test", results(tmp_path / "other.json", "theirs-1", measured(7)),
    )  # fmt: skip
    assert status == 0
    found = load_artifact(model).card
    assert found.metrics["test"]["auc"] == test["auc"]
    assert found.metrics["reference"]["published"] == {"accuracy": 0.6725}
    text = (model / "MODEL_CARD.md").read_text()
    assert RESEARCH_USE_NOTICE in text
    assert "None at all." in text
    (line,) = [line for line in text.splitlines() if line.startswith("| AUC by image |")][:1]
    auc = test["auc"]
    assert f"{auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})" in line
    assert line.count("|") == 7  # test, validation, two of the reference, and what it published
    assert "| accuracy at 0.5 |" in text
    assert "| 0.6725 |" in text
    assert "| age | 0.610 (0.500 to 0.700) |" in text
    assert "3 of the 203" in text
    assert "| machine 2 |" in text
    assert "| 1 Title | there |" in text
    # Results that are not given again do not change.
    assert card("--model", model) == 0
    assert (model / "MODEL_CARD.md").read_text() == text


def test_predictive_values_follow_from_prevalence(model: Path):
    point = {
        "threshold": 0.3,
        "sensitivity": {"value": 0.9, "low": None, "high": None},
        "specificity": {"value": 0.5, "low": None, "high": None},
    }
    found = load_artifact(model).card
    validation = {**measured(1), "with_age": None, "operating_points": {"high": point}}
    validation |= {"positives": 40, "images": 100}
    text = render(found.model_copy(update={"metrics": {"validation": validation}}))
    (line,) = [line for line in text.splitlines() if line.startswith("| high |")]
    # 0.9 x 0.4 / (0.36 + 0.5 x 0.6); 0.5 x 0.6 / (0.3 + 0.04); then at 2 %.
    assert line.endswith("| 0.545, 0.882 | 0.035, 0.996 |")
    assert "PPV, NPV at 40 %" in text


COMPARISON = CardComparison(
    source="validation",
    images=300,
    positives=100,
    auc_float=0.7057,
    auc_compiled=0.70593,
    max_difference=0.0128,
    percentile_95_difference=0.0062,
    mean_difference=0.002,
    labels_changed=4,
    allowed_auc_difference=0.005,
    allowed_difference=0.03,
)


def test_precision_and_its_effect_are_in_the_markdown(model: Path):
    found = load_artifact(model).card
    assert "Compiled network" not in render(found)
    compiled = CardCompiled(precision="bfloat16", comparison=COMPARISON)
    text = render(found.model_copy(update={"compiled": compiled}))
    assert "The service computes in bfloat16, or in float32" in text
    assert "300 images of validation patients" in text
    assert "| AUC | 0.7059 | 0.7057 | within 0.005 |" in text
    assert "| largest difference in probability | 0.0128 | | 0.03 |" in text
    assert "| labels that change | 4 | | |" in text
    plain = compiled.model_copy(update={"precision": "float32"})
    text = render(found.model_copy(update={"compiled": plain}))
    assert "The service computes in float32, because scores in bfloat16 differ too much." in text
    assert "times as long" not in text


def test_training_for_8_bits_is_in_the_markdown(model: Path):
    found = load_artifact(model).card
    assert "8 bits" not in render(found)
    limits = {"allowed_percentile_95": 0.015, "allowed_labels_changed": 0.01}
    comparison = COMPARISON.model_copy(update={"precision": "int8", **limits})
    learned = {
        "quantisation": CardQuantisation(ranges={"conv1": 1.0}, comparison=comparison),
        "compiled": CardCompiled(precision="int8", comparison=comparison),
    }
    text = render(found.model_copy(update=learned))
    assert "The service computes in int8, or in float32 from the same weights" in text
    assert "| | int8 | float32 | allowed |" in text
    assert "| | 8 bits | before | allowed |" in text
    assert text.count("| 95th percentile of the difference | 0.0062 | | 0.015 |") == 2
    assert text.count("| labels that change | 4 | | 1 % |") == 2


def test_every_table_is_well_formed(model: Path):
    lines = render(load_artifact(model).card).splitlines()
    for above, line in pairwise(lines):
        if line.startswith("|") and above.startswith("|"):
            assert line.count("|") == above.count("|"), line
    assert not any("undefined" in line.lower() for line in lines)


def compared_folds(path: Path, second: str = "by-fold", *, with_age: bool = False) -> Path:
    """A result of dev compare --json."""
    side = {"value": 0.61, "low": 0.55, "high": 0.66}
    pair = {
        "first": side,
        "second": {**side, "value": 0.67},
        "difference": {"value": 0.06, "low": 0.01, "high": 0.11},
        "error": 0.025,
    }
    content = {
        "first": "baseline",
        "second": second,
        "folds": ["fold-1", "fold-2"],
        "with_age": with_age,
        "measures": {"image": pair, "breast": pair},
    }
    path.write_text(json.dumps(content))
    return path


def measured_by_folds(folder: Path) -> Path:
    model = model_folder(folder, "ours-1", 1)
    found = load_artifact(model).card
    validation = {**found.metrics["validation"], "by_folds": "by-fold"}
    write_card(model, found.model_copy(update={"metrics": {"validation": validation}}))
    return model


def test_a_model_measured_by_folds_says_so(tmp_path: Path):
    model = measured_by_folds(tmp_path / "model")
    text = render(load_artifact(model).card)
    assert "| | out of fold |" in text
    assert "fitted on all patients out of fold" in text
    assert "| default | out of fold |" in text
    assert "validation patients" not in text
    seeds = compared_folds(tmp_path / "folds.json", "by-fold,by-fold-2")
    aged = compared_folds(tmp_path / "aged.json", with_age=True)
    assert card("--model", model, "--folds", seeds, "--folds", aged) == 0
    lines = (model / "MODEL_CARD.md").read_text().splitlines()
    assert "| | `baseline` | `by-fold,by-fold-2` | difference |" in lines
    row = "0.610 (0.550 to 0.660) | 0.670 (0.550 to 0.660) | 0.060 (0.010 to 0.110) |"
    assert f"| image | {row}" in lines
    assert f"| image, with age | {row}" in lines
    test_every_table_is_well_formed(model)


def test_comparisons_of_other_runs_are_refused(model: Path, tmp_path: Path, capsys):
    other = compared_folds(tmp_path / "other.json", "by-fold")
    assert card("--model", model, "--folds", other) == 1
    assert "not of the run of this model" in capsys.readouterr().err
    own = measured_by_folds(tmp_path / "own")
    assert card("--model", own, "--folds", compared_folds(tmp_path / "a.json", "another")) == 1
    assert card("--model", own, "--folds", other) == 0


def test_results_on_other_data_sets_have_their_own_columns(model: Path, tmp_path: Path, capsys):
    about = tmp_path / "about.toml"
    about.write_text('[external]\nThere = "a mass that looks malignant"\n')
    there = results(tmp_path / "there.json", "ours-1", {**measured(5), "patients_known": False})
    here = results(tmp_path / "here.json", "ours-1", {**measured(6), "patients_known": True})
    status = card(
        "--model", model, "--about", about, "--external", f"There={there}",
        "--external", f"Here={here}",
    )  # fmt: skip
    assert status == 0
    lines = (model / "MODEL_CARD.md").read_text().splitlines()
    assert "| | There | Here |" in lines
    assert "| meaning of label 1 | a mass that looks malignant | – |" in lines
    assert "| images, with label 1 | 200, 100 | 200, 100 |" in lines
    unknown = "unknown: intervals are from resampled images, and may be too narrow"
    assert f"| patients | {unknown} | 200 |" in lines
    assert any(line.startswith("| AUC by breast | – | 0.") for line in lines)
    test_every_table_is_well_formed(model)
    other = results(tmp_path / "other.json", "theirs-1", measured(5))
    assert card("--model", model, "--external", f"Here={other}") == 1
    assert "another model" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        card("--model", model, "--external", str(there))


def test_results_of_another_model_are_refused(model: Path, tmp_path: Path, capsys):
    before = (model / "card.json").read_bytes()
    other = results(tmp_path / "test.json", "theirs-1", measured(5))
    assert card("--model", model, "--test", other) == 1
    assert "another model" in capsys.readouterr().err
    (tmp_path / "broken.json").write_text("{")
    assert card("--model", model, "--robustness", tmp_path / "broken.json") == 1
    assert card("--model", model, "--about", tmp_path / "missing.toml") == 1
    assert (model / "card.json").read_bytes() == before


def test_the_released_markdown_is_rendered_from_the_released_card():
    found = load_artifact(ROOT / "model").card
    assert (ROOT / "model" / "MODEL_CARD.md").read_text() == render(found)
