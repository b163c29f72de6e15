"""Curves of the validation images, and the covariances of the calibrations, for a card."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from mammoscope.data.dataset import Example
from mammoscope.errors import ArtifactMismatchError, ArtifactNotFoundError
from mammoscope.evaluation.metrics.calibration_fit import (
    fit_platt_with_age,
    platt_covariance,
    platt_covariance_with_age,
)
from mammoscope.evaluation.metrics.curves import decision_curve, reliability, roc_band
from mammoscope.evaluation.metrics.measures import Curve
from mammoscope.evaluation.metrics.scored import Scored
from mammoscope.imaging.arrays import FloatArray
from mammoscope.model.artifact.card import Card, Level
from mammoscope.model.artifact.folder import sha256_of
from mammoscope.model.calibration import AgeCalibration, Calibration

_BAND_RATES: Final = np.linspace(0.0, 1.0, 51)
"""False positive rates at which the band of the ROC curve is stored."""

_DIGITS: Final = 5
"""Decimal places of stored curves: finer than a screen or paper shows."""

_TOLERANCE: Final = 1e-4
"""Allowed difference between the card's change per decade and one fitted again."""

COVARIANCE: Final = "calibration_covariance"


def with_curves(card: Card, images: Scored, ages: Sequence[float | None] | None = None) -> Card:
    """Add curves of the validation images, and the covariance of each calibration.

    Parameters
    ----------
    card
        The card, with validation metrics and calibrations.
    images
        The model's validation images with their patients and breasts, and with the card's
        calibration.
    ages
        Age of the woman in years for each image, None if unknown; without ages, the calibration
        with age keeps the covariance that the card has.

    Returns
    -------
    Card
        The card with ``curves`` in its validation metrics, and there and in those of ``breast``,
        ``patient`` and ``with_age`` with ``calibration_covariance``: rows of slope, intercept and,
        with age, change per decade.

    Raises
    ------
    ArtifactMismatchError
        If the ages are not those that the card's calibration was fitted to.
    """
    validation = dict(card.metrics.get("validation", {}))
    validation["curves"] = _curves(images)
    validation[COVARIANCE] = _covariance(images, card.calibration)
    levels: dict[Level, Scored] = {"breast": images.by_breast(), "patient": images.by_patient()}
    for level, scored in levels.items():
        if level in card.levels and level in validation:
            covariance = _covariance(scored, card.scale(level))
            validation[level] = {**validation[level], COVARIANCE: covariance}
    if ages is not None and card.age_calibration is not None and validation.get("with_age"):
        covariance = _covariance_with_age(images, ages, card.age_calibration)
        validation["with_age"] = {**validation["with_age"], COVARIANCE: covariance}
    return card.model_copy(update={"metrics": {**card.metrics, "validation": validation}})


def read_ages(scores: Path, examples: Sequence[Example]) -> list[float | None]:
    """Return the age in years for each row of a table of validation scores, None if unknown.

    Images are found by their ``sha256``, or in a run's own table by their ``file``.

    Raises
    ------
    ArtifactNotFoundError
        If the table or an image cannot be read.
    ArtifactMismatchError
        If no image of the table is among the examples.
    """
    try:
        with scores.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, csv.Error) as err:
        raise ArtifactNotFoundError("The validation scores are missing or damaged.") from err
    hashed = bool(rows) and "sha256" in rows[0]
    ages = {sha256_of(each.path) if hashed else each.name: each.facts.age for each in examples}
    names = [row.get("sha256" if hashed else "file") or "" for row in rows]
    if not any(name in ages for name in names):
        raise ArtifactMismatchError("The validation scores belong to other images.")
    return [ages.get(name) for name in names]


def _curves(images: Scored) -> dict[str, Any]:
    false_rate, true_rate = (
        rate[0]
        for rate in Curve(images.logits, images.labels).rates(np.ones((1, images.labels.size)))
    )
    corners = _corners(false_rate, true_rate)
    band = roc_band(images, _BAND_RATES)
    decision = decision_curve(images)
    return {
        "roc": {
            "false_positive_rate": _rounded(false_rate[corners]),
            "sensitivity": _rounded(true_rate[corners]),
            "band": {
                "false_positive_rate": _rounded(_BAND_RATES),
                "low": _rounded(band.low),
                "high": _rounded(band.high),
            },
        },
        "reliability": [each.to_json() for each in reliability(images)],
        "decision": {
            "threshold": _rounded(decision.thresholds),
            "net_benefit": _rounded(decision.net_benefit),
            "low": _rounded(decision.band.low),
            "high": _rounded(decision.band.high),
            "of_acting_on_all": _rounded(decision.of_acting_on_all),
        },
    }


def _corners(rates: FloatArray, others: FloatArray) -> list[int]:
    """Indices of the ends of a curve (P,), (P,) and of the points where its direction changes."""
    steps = np.stack([np.diff(rates), np.diff(others)], axis=1)
    crossed = steps[1:, 0] * steps[:-1, 1] - steps[1:, 1] * steps[:-1, 0]
    return [0, *(int(at) + 1 for at in np.flatnonzero(np.abs(crossed) > 1e-12)), rates.size - 1]


def _covariance(scored: Scored, calibration: Calibration) -> list[list[float]] | None:
    return _rows(platt_covariance(scored.logits, scored.labels, scored.patients, calibration))


def _covariance_with_age(
    images: Scored, ages: Sequence[float | None], calibration: AgeCalibration
) -> list[list[float]] | None:
    known = [at for at, age in enumerate(ages) if age is not None]
    years = np.array([ages[at] for at in known], np.float64)
    logits, labels = images.logits[known], images.labels[known]
    fitted = fit_platt_with_age(logits, years, labels)
    if fitted is None or abs(fitted.per_decade - calibration.per_decade) > _TOLERANCE:
        raise ArtifactMismatchError("The ages are not those that the model was calibrated with.")
    patients = np.unique(images.patients[known], return_inverse=True)[1]
    return _rows(platt_covariance_with_age(logits, years, labels, patients, calibration))


def _rows(covariance: FloatArray | None) -> list[list[float]] | None:
    return None if covariance is None else [[float(x) for x in row] for row in covariance]


def _rounded(values: FloatArray) -> list[float | None]:
    return [round(float(x), _DIGITS) if np.isfinite(x) else None for x in values]
