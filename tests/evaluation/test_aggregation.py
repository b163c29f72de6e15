"""Calibration and operating points by breast and patient."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from mammoscope.errors import ArtifactMismatchError, ArtifactNotFoundError
from mammoscope.evaluation.aggregation import read_scores, scales_of, with_aggregation
from mammoscope.evaluation.metrics.aggregation_rules import RULES_IN_USE, compare_rules
from mammoscope.evaluation.metrics.assessment import evaluate_scores
from mammoscope.evaluation.metrics.operating import fit_scale
from mammoscope.evaluation.metrics.scored import Scored
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.model.artifact.card import Card
from mammoscope.model.calibration import Calibration
from mammoscope.studies import PredictedImage, aggregate

CARD = Card(
    version="1",
    sha256="0" * 64,
    input_size=(96, 72),
    calibration=Calibration(slope=0.8, intercept=-0.3),
)


@pytest.fixture(scope="module")
def images() -> Scored:
    """200 patients with both breasts, two views each; a fifth has a tumour in one."""
    rng = np.random.default_rng(3)
    labels, logits, patients, breasts = [], [], [], []
    for patient in range(200):
        for side in "LR":
            ill = patient % 5 == 0 and side == "L"
            level = rng.normal(1.5 if ill else 0.0, 0.7)
            for _ in range(2):
                labels.append(int(ill))
                logits.append(2.0 * (level + rng.normal(0.0, 1.0)))
                patients.append(patient)
                breasts.append(f"{patient}{side}")
    return Scored.of(
        labels,
        logits,
        patients=patients,
        breasts=breasts,
        calibration=Calibration(slope=0.8, intercept=-0.3),
    )


@pytest.fixture(scope="module")
def card(images: Scored) -> Card:
    return with_aggregation(CARD, images)


def write_scores(path: Path, images: Scored) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("file", "label", "patient", "breast", "logit", "probability"))
        for i, (logit, probability) in enumerate(
            zip(images.logits, images.probabilities, strict=True)
        ):
            writer.writerow(
                (i, images.labels[i], images.patients[i], images.breasts[i],
                 f"{logit:.6f}", f"{probability:.6f}")
            )  # fmt: skip
    return path


def test_probabilities_of_each_level_are_calibrated_on_that_level(card: Card, images: Scored):
    """The calibration of images would be far off for maxima."""
    for level, units in (("breast", images.by_breast()), ("patient", images.by_patient())):
        scale = card.scale(level)
        mean = np.mean([scale.probability(logit) for logit in units.logits])
        assert mean == pytest.approx(units.labels.mean(), abs=0.01), level
        measured = card.metrics["validation"][level]
        assert measured["calibration_slope"]["value"] == pytest.approx(1.0, abs=0.1), level
        as_images = evaluate_scores(images, resamples=10)
        found = getattr(as_images, level)["ece"].value
        assert measured["ece"]["value"] < found, level


def test_operating_points_reach_their_target_on_their_level(card: Card, images: Scored):
    for level, units in (("breast", images.by_breast()), ("patient", images.by_patient())):
        points = card.levels[level].operating_points
        assert set(points) == {"default", "high_sensitivity", "high_specificity"}
        scale = card.scale(level)
        probabilities = np.array([scale.probability(logit) for logit in units.logits])
        ill = units.labels == 1
        sensitive = probabilities >= points["high_sensitivity"].threshold
        assert sensitive[ill].mean() >= 0.90
        specific = probabilities < points["high_specificity"].threshold
        assert specific[~ill].mean() >= 0.90
        assert points["high_sensitivity"].measured["sensitivity"]["value"] >= 0.90


def test_a_study_uses_the_calibration_of_breasts_and_patients(card: Card):
    answers = {
        (laterality, view): logit
        for (laterality, view), logit in zip(
            [(side, view) for side in Laterality for view in (View("CC"), View("MLO"))],
            (0.5, 1.5, -1.0, -2.0),
            strict=True,
        )
    }
    study = aggregate(
        [
            PredictedImage(
                file=f"{side}{view}",
                patient="p",
                laterality=side,
                view=view,
                probability=0.5,
                logit=logit,
                threshold=0.5,
                warnings=(),
                chest_wall="left",
            )
            for (side, view), logit in answers.items()
        ],
        card.model_copy(update={"operating_points": card.levels["breast"].operating_points}),
        "high_sensitivity",
    )
    left, right = study.breasts
    assert (left.logit, right.logit) == (1.0, -1.5)
    of_breast, of_patient = card.levels["breast"], card.levels["patient"]
    assert left.probability == of_breast.calibration.probability(1.0)
    assert left.threshold == of_breast.operating_points["high_sensitivity"].threshold
    (patient,) = study.patients
    assert patient.probability == of_patient.calibration.probability(1.0)
    assert patient.threshold == of_patient.operating_points["high_sensitivity"].threshold
    assert patient.probability != left.probability


def test_evaluation_uses_the_cards_calibration_of_breasts_and_patients(card: Card, images: Scored):
    found = evaluate_scores(images, scales=scales_of(card), resamples=20)
    assert found.level_points["breast"]["high_specificity"].specificity.value >= 0.90
    assert found.to_json()["patient"]["operating_points"]["default"]["threshold"] == 0.5
    plain = evaluate_scores(images, resamples=20)
    assert found.breast["auc"].value == plain.breast["auc"].value
    assert found.breast["log_loss"].value < plain.breast["log_loss"].value


def test_stored_scores_give_the_same_card(card: Card, images: Scored, tmp_path: Path):
    stored = read_scores(write_scores(tmp_path / "scores.csv", images), CARD)
    again = with_aggregation(CARD, stored)
    for level in ("breast", "patient"):
        assert again.levels[level].calibration.slope == pytest.approx(
            card.levels[level].calibration.slope, abs=1e-4
        )


def test_scores_of_another_model_are_refused(images: Scored, tmp_path: Path):
    path = write_scores(tmp_path / "scores.csv", images)
    other = CARD.model_copy(update={"calibration": Calibration(slope=0.9)})
    with pytest.raises(ArtifactMismatchError, match="another model"):
        read_scores(path, other)


@pytest.mark.parametrize(
    "text",
    [
        "", "file,label\n1,0\n", "label,patient,breast,logit,probability\n1,a,b,x,0.5\n",
        "label,patient,breast,logit,probability\n2,a,b,0,0.5\n",
        "label,patient,breast,logit,probability\n1,a,b,0,0.5\n",
    ],
)  # fmt: skip
def test_damaged_scores_are_refused(text: str, tmp_path: Path):
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(ArtifactNotFoundError):
        read_scores(tmp_path / "scores.csv", CARD)
    with pytest.raises(ArtifactNotFoundError):
        read_scores(tmp_path / "nothing.csv", CARD)


class TestRules:
    def test_the_rules_in_use_agree_with_scored(self, images: Scored):
        """All units have the same size, so the result equals the plain AUC."""
        found = compare_rules(images, resamples=50)
        plain = evaluate_scores(images, resamples=10)
        for level, in_use in RULES_IN_USE.items():
            assert found[level][in_use].gain is None
            assert found[level][in_use].auc.value == pytest.approx(
                getattr(plain, level)["auc"].value
            )

    def test_a_tumour_in_one_breast_is_found_by_the_maximum(self):
        """If both breasts are imaged, the healthy one dilutes a mean."""
        rng = np.random.default_rng(4)
        ill = np.arange(1000) % 4 == 0
        logits = rng.normal(size=(1000, 2))
        logits[ill, 0] += 2.0
        both = Scored.of(
            np.stack([ill, np.zeros_like(ill)], axis=1).reshape(-1),
            logits.reshape(-1),
            patients=np.arange(1000).repeat(2).tolist(),
        )
        mean = compare_rules(both, resamples=100)["patient"]["mean"]
        assert mean.gain is not None
        assert mean.gain.high < 0.0

    def test_the_number_of_imaged_breasts_does_not_affect_the_result(self):
        """Scores are noise, but most patients with a tumour have one breast and the others two."""
        rng = np.random.default_rng(5)
        labels, patients, breasts = [], [], []
        for patient in range(2000):
            ill = patient % 2
            count = 1 if ill and patient % 8 != 1 else 2
            for side in range(count):
                labels.append(ill)
                patients.append(patient)
                breasts.append((patient, side))
        noise = Scored.of(labels, rng.normal(size=len(labels)), patients=patients, breasts=breasts)
        highest = evaluate_scores(noise, resamples=10).patient["auc"].value
        assert highest < 0.4  # what the plain AUC would give
        for result in compare_rules(noise, resamples=200)["patient"].values():
            assert result.auc.low < 0.5 < result.auc.high
            assert abs(result.auc.value - 0.5) < 0.05

    def test_without_comparable_pairs_the_result_is_undefined(self):
        scored = Scored.of([1, 0, 0], [1.0, 0.0, 0.0], patients=[0, 1, 1], breasts=[0, 1, 2])
        found = compare_rules(scored, resamples=20)["patient"]["highest"]
        assert math.isnan(found.auc.value)
        assert found.to_json() == {"auc": {"value": None, "low": None, "high": None}, "gain": None}


def test_fitting_needs_both_classes():
    with pytest.raises(ValueError, match="both classes"):
        fit_scale(Scored.of([1, 1], [0.0, 1.0]), "default")
