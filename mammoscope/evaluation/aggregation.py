"""Calibration and operating points of a card by breast and by patient.

A breast's logit is a mean of several and a patient's a maximum of two. The calibration and
operating points of images therefore do not fit them; separate ones are fitted to the validation
images.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from mammoscope.errors import ArtifactMismatchError, ArtifactNotFoundError
from mammoscope.evaluation.metrics.aggregation_rules import compare_rules
from mammoscope.evaluation.metrics.assessment import Evaluation, evaluate_scores
from mammoscope.evaluation.metrics.operating import Scale, fit_scale
from mammoscope.evaluation.metrics.scored import Scored
from mammoscope.model.artifact.card import DEFAULT_POINT, Card, CardLevel, CardOperatingPoint
from mammoscope.model.calibration import Calibration

SCORES_NAME: Final = "validation_scores.csv"
"""A run's table of validation scores."""

_TOLERANCE: Final = 1e-4
"""Allowed difference between stored probabilities, which have six digits, and the card's."""

_LEVELS: Final[tuple[Literal["breast"], Literal["patient"]]] = ("breast", "patient")


def with_aggregation(card: Card, images: Scored) -> Card:
    """Fit and measure breasts and patients, and compare rules that aggregate scores.

    Parameters
    ----------
    card
        The card; its facts about images are kept.
    images
        The model's validation images with their patients and breasts, and with the card's
        calibration.

    Returns
    -------
    Card
        The card with ``levels``, and with ``breast``, ``patient`` and ``rules`` in its validation
        metrics.
    """
    scales = {
        "breast": fit_scale(images.by_breast(), DEFAULT_POINT),
        "patient": fit_scale(images.by_patient(), DEFAULT_POINT),
    }
    measured = evaluate_scores(images, scales=scales)
    rules = compare_rules(images)
    content = measured.to_json()
    validation: dict[str, Any] = {
        **card.metrics.get("validation", {}),
        **{level: content[level] for level in _LEVELS},
        "rules": {
            level: {name: result.to_json() for name, result in results.items()}
            for level, results in rules.items()
        },
    }
    return card.model_copy(
        update={
            "levels": {level: _card_level(scales[level], measured, level) for level in _LEVELS},
            "metrics": {**card.metrics, "validation": validation},
        }
    )


def _card_level(scale: Scale, measured: Evaluation, level: str) -> CardLevel:
    return CardLevel(
        calibration=scale.calibration,
        operating_points={
            name: CardOperatingPoint(threshold=point.threshold, measured=point.to_json())
            for name, point in measured.level_points[level].items()
        },
    )


def scales_of(card: Card) -> dict[str, Scale]:
    """Return the card's scales of breasts and patients, for `evaluate_scores`."""
    return {
        level: Scale(
            of_level.calibration,
            {name: point.threshold for name, point in of_level.operating_points.items()},
        )
        for level, of_level in card.levels.items()
    }


def scored_of(rows: Sequence[Mapping[str, str]], calibration: Calibration | None = None) -> Scored:
    """Convert rows of `SCORES_NAME`; raises KeyError, TypeError or ValueError if one is damaged."""
    return Scored.of(
        [int(row["label"]) for row in rows],
        [float(row["logit"]) for row in rows],
        patients=[row["patient"] for row in rows],
        breasts=[row["breast"] for row in rows],
        calibration=calibration,
    )


def read_scores(path: Path, card: Card) -> Scored:
    """Read a run's `SCORES_NAME`, or its published form without file names.

    Raises
    ------
    ArtifactNotFoundError
        If the table cannot be read.
    ArtifactMismatchError
        If its probabilities do not follow from its logits by the card's calibration, because it
        belongs to another model.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        probabilities = np.array([float(row["probability"]) for row in rows])
        scored = scored_of(rows, card.calibration)
        patients = scored.by_patient()
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as err:
        raise ArtifactNotFoundError("The validation scores are missing or damaged.") from err
    if np.unique(patients.labels).size < 2:
        raise ArtifactNotFoundError("The validation scores need patients of both classes.")
    if np.abs(scored.probabilities - probabilities).max() > _TOLERANCE:
        raise ArtifactMismatchError("The validation scores belong to another model.")
    return scored
