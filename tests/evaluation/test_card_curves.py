"""Curves and covariances of the validation images, for the card."""

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from mammoscope.data.dataset import Example, Facts
from mammoscope.errors import ArtifactMismatchError
from mammoscope.evaluation.aggregation import read_scores, with_aggregation
from mammoscope.evaluation.card_curves import COVARIANCE, read_ages, with_curves
from mammoscope.evaluation.metrics.calibration_fit import (
    fit_platt,
    fit_platt_with_age,
    platt_covariance,
    platt_covariance_with_age,
)
from mammoscope.evaluation.metrics.scored import Scored
from mammoscope.model.artifact.card import Card
from mammoscope.model.artifact.folder import load_artifact, sha256_of
from mammoscope.model.calibration import decades_from_centre, sigmoid
from tests.conftest import MODEL

RELEASED_SCORES = MODEL / "experiments" / "student-quantised" / "validation_scores.csv"
PATIENTS, VIEWS = 150, 4
LOGITS = np.array([-1.0, 2.0, 4.0])


@pytest.fixture(scope="module")
def clustered() -> Scored:
    """Images whose scores and labels are alike within a patient."""
    rng = np.random.default_rng(4)
    patients = np.repeat(np.arange(PATIENTS), VIEWS)
    ill = rng.random(PATIENTS) < 0.4
    labels = (ill[patients] & (rng.random(patients.size) < 0.9)).astype(int)
    own = rng.normal(0.0, 1.0, PATIENTS)[patients]
    return Scored.of(
        labels, labels + own + rng.normal(1.5, 0.5, patients.size), patients=list(patients)
    )


def resampled(scored: Scored, count: int = 300) -> list[np.ndarray]:
    """Indices of the images of patients drawn with replacement."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(scored.patients == each) for each in range(PATIENTS)]
    return [
        np.concatenate([members[each] for each in rng.integers(0, PATIENTS, PATIENTS)])
        for _ in range(count)
    ]


def test_covariance_agrees_with_a_bootstrap_of_patients(clustered: Scored) -> None:
    fitted = fit_platt(clustered.logits, clustered.labels)
    covariance = platt_covariance(clustered.logits, clustered.labels, clustered.patients, fitted)
    drawn = [
        fit_platt(clustered.logits[at], clustered.labels[at]).log_odds(LOGITS)
        for at in resampled(clustered)
    ]
    vectors = np.stack([LOGITS, np.ones_like(LOGITS)], axis=1)
    expected = np.std(drawn, axis=0)
    found = np.sqrt(np.einsum("ni,ij,nj->n", vectors, covariance, vectors))
    np.testing.assert_allclose(found, expected, rtol=0.15)
    # Without the correlation of slope and intercept, or of a patient's images, it is far off.
    independent = np.sqrt(vectors**2 @ np.diag(covariance))
    assert np.abs(independent / expected - 1).max() > 0.3
    alone = platt_covariance(
        clustered.logits, clustered.labels, np.arange(clustered.labels.size), fitted
    )
    assert alone[0, 0] < 0.6 * covariance[0, 0]


def test_covariance_with_age_agrees_with_a_bootstrap(clustered: Scored) -> None:
    ages = np.random.default_rng(5).normal(60.0, 10.0, PATIENTS)[clustered.patients]
    fitted = fit_platt_with_age(clustered.logits, ages, clustered.labels)
    covariance = platt_covariance_with_age(
        clustered.logits, ages, clustered.labels, clustered.patients, fitted
    )
    at_ages = np.array([45.0, 60.0, 80.0])
    drawn = [
        fit_platt_with_age(clustered.logits[at], ages[at], clustered.labels[at]).log_odds(
            LOGITS, at_ages
        )
        for at in resampled(clustered)
    ]
    vectors = np.stack([LOGITS, np.ones_like(LOGITS), decades_from_centre(at_ages)], axis=1)
    found = np.sqrt(np.einsum("ni,ij,nj->n", vectors, covariance, vectors))
    np.testing.assert_allclose(found, np.std(drawn, axis=0), rtol=0.15)


def test_no_covariance_where_nothing_was_fitted() -> None:
    for logits, labels, patients in (
        ([1.0, 1.0, 1.0, 1.0], [0, 1, 0, 1], [0, 1, 2, 3]),
        ([1.0, 2.0, 3.0, 4.0], [1, 1, 1, 1], [0, 1, 2, 3]),
        ([1.0, 2.0, 3.0, 4.0], [0, 1, 0, 1], [0, 0, 0, 0]),
    ):
        assert platt_covariance(logits, labels, patients, fit_platt(logits, labels)) is None


def test_curves_are_those_of_the_images(clustered: Scored) -> None:
    card = Card(version="1", sha256="0" * 64, input_size=(96, 72))
    found = with_curves(with_aggregation(card, clustered), clustered).metrics["validation"]
    roc = found["curves"]["roc"]
    false_rate, true_rate, _ = roc_curve(clustered.labels, clustered.logits)
    np.testing.assert_allclose(
        np.interp(np.linspace(0.005, 1, 50), roc["false_positive_rate"], roc["sensitivity"]),
        np.interp(np.linspace(0.005, 1, 50), false_rate, true_rate),
        atol=2e-5,
    )
    bins = found["curves"]["reliability"]
    assert sum(each["images"] for each in bins) == clustered.labels.size
    assert sum(each["positives"] for each in bins) == clustered.labels.sum()
    for each in bins:
        assert each["observed"]["value"] == pytest.approx(each["positives"] / each["images"])
        assert each["observed"]["low"] <= each["observed"]["value"] <= each["observed"]["high"]
    decision = found["curves"]["decision"]
    at = decision["threshold"].index(0.3)
    called = sigmoid(clustered.logits) >= 0.3
    true, false = (called & (clustered.labels == label) for label in (1, 0))
    assert decision["net_benefit"][at] == pytest.approx(
        (true.sum() - false.sum() * 0.3 / 0.7) / clustered.labels.size, abs=1e-5
    )
    assert len(found["breast"][COVARIANCE]) == len(found["patient"][COVARIANCE]) == 2


def test_the_released_curves_follow_from_the_published_scores() -> None:
    card = load_artifact(MODEL).require_card()
    again = with_curves(card, read_scores(RELEASED_SCORES, card)).metrics["validation"]
    stored = card.metrics["validation"]
    for name in ("false_positive_rate", "sensitivity"):
        assert again["curves"]["roc"][name] == pytest.approx(stored["curves"]["roc"][name])
    assert again["curves"]["decision"] == {
        name: pytest.approx(values, abs=2e-5)
        for name, values in stored["curves"]["decision"].items()
    }
    for part in ("breast", "patient"):
        np.testing.assert_allclose(again[part][COVARIANCE], stored[part][COVARIANCE], rtol=1e-6)
    assert np.shape(stored["with_age"][COVARIANCE]) == (3, 3)


def test_ages_are_found_by_digest_and_by_name(tmp_path: Path) -> None:
    images = []
    for name, age in (("a.png", 52.0), ("b.png", None)):
        (tmp_path / name).write_bytes(name.encode())
        images.append(Example(tmp_path / name, 0, "", name, name, True, Facts(age=age)))
    for column, names in (
        ("sha256", [sha256_of(each.path) for each in images]),
        ("file", ["a.png", "b.png"]),
    ):
        with (tmp_path / "scores.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([[column], *([name] for name in names), ["unknown"]])
        assert read_ages(tmp_path / "scores.csv", images) == [52.0, None, None]
    with pytest.raises(ArtifactMismatchError):
        read_ages(tmp_path / "scores.csv", images[:0])


def test_other_ages_are_refused() -> None:
    card = load_artifact(MODEL).require_card()
    images = read_scores(RELEASED_SCORES, card)
    ages = list(np.random.default_rng(1).normal(60.0, 10.0, images.labels.size))
    with pytest.raises(ArtifactMismatchError, match="ages"):
        with_curves(card, images, ages)
