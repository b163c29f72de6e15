"""The full evaluation of scored images: levels, groups, operating points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from mammoscope.errors import SingleClassError
from mammoscope.evaluation.metrics.intervals import RESAMPLES, Interval, Measured, bootstrap
from mammoscope.evaluation.metrics.measures import Curve, Measures
from mammoscope.evaluation.metrics.operating import OperatingPoint, Scale, measure_points
from mammoscope.evaluation.metrics.scored import Scored
from mammoscope.imaging.arrays import FloatArray
from mammoscope.model.calibration import AgeCalibration

MIN_PER_CLASS: Final = 10
"""Minimum number of images of each class for the AUC of a group."""


@dataclass(frozen=True, slots=True)
class Group(Measured):
    """Images that share a value of a fact, such as a machine.

    Parameters
    ----------
    images, patients, positives
        Counts.
    auc
        None if a class has fewer than `MIN_PER_CLASS` images.
    """

    images: int
    patients: int
    positives: int
    auc: Interval | None


@dataclass(frozen=True, slots=True)
class Evaluation(Measured):
    """All measurements of a set of scored images.

    Parameters
    ----------
    images, patients, breasts, positives
        Counts; positives are images.
    threshold
        Probability from which the accuracies count an image as predicted label 1.
    image, breast, patient
        Measures by name at each level.
    groups
        By fact, by value of the fact.
    within
        By fact: mean AUC of the groups that have one, None if fewer than two do.
    operating_points
        Results at the given thresholds.
    level_points
        By level, ``breast`` and ``patient``: results at the level's own thresholds, or empty.
    """

    images: int
    patients: int
    breasts: int
    positives: int
    threshold: float
    image: Mapping[str, Interval]
    breast: Mapping[str, Interval]
    patient: Mapping[str, Interval]
    groups: Mapping[str, Mapping[str, Group]] = field(default_factory=dict)
    within: Mapping[str, Interval | None] = field(default_factory=dict)
    operating_points: Mapping[str, OperatingPoint] = field(default_factory=dict)
    level_points: Mapping[str, Mapping[str, OperatingPoint]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object: the image level at the top, the rest nested by name."""
        found = Measured.to_json(self)
        counts = ("images", "patients", "breasts", "positives", "threshold")
        return {
            **{name: found[name] for name in counts},
            **found["image"],
            **{
                level: {**found[level], "operating_points": found["level_points"].get(level, {})}
                for level in ("breast", "patient")
            },
            **{f"within_{fact}": mean for fact, mean in found["within"].items()},
            "groups": found["groups"],
            "operating_points": found["operating_points"],
        }


def evaluate_scores(
    scored: Scored,
    *,
    groups: Mapping[str, Sequence[str | None]] | None = None,
    thresholds: Mapping[str, float] | None = None,
    scales: Mapping[str, Scale] | None = None,
    resamples: int = RESAMPLES,
) -> Evaluation:
    """Compute all measures, each with a 95 % interval from resamples of patients.

    Parameters
    ----------
    scored
        Images.
    groups
        By fact (``machine``, ``view``, ...): the value for each image, None if unknown.
    thresholds
        Operating points of images, as probabilities by name.
    scales
        By level, ``breast`` and ``patient``: its calibration and thresholds. A level without an
        entry uses the images' calibration.
    resamples
        Number of bootstrap resamples for the intervals.

    Raises
    ------
    SingleClassError
        If the images, or the patients, are all of one class.
    """
    levels = {"image": scored, "breast": scored.by_breast(), "patient": scored.by_patient()}
    for level in ("image", "patient"):
        if np.unique(levels[level].labels).size < 2:
            raise SingleClassError(f"Nothing can be measured: there is only one class by {level}.")
    scales = scales or {}
    for level, scale in scales.items():
        levels[level] = replace(levels[level], calibration=scale.calibration)
    measured = {
        name: bootstrap(Measures(level), level.labels, level.patients, resamples=resamples)
        for name, level in levels.items()
    }
    tables = {
        fact: _groups(scored, values, resamples=resamples)
        for fact, values in (groups or {}).items()
    }
    return Evaluation(
        images=scored.labels.size,
        patients=levels["patient"].labels.size,
        breasts=levels["breast"].labels.size,
        positives=int(scored.labels.sum()),
        threshold=0.5,
        **measured,
        groups={fact: table for fact, (table, _) in tables.items()},
        within={fact: mean for fact, (_, mean) in tables.items()},
        operating_points=measure_points(thresholds or {}, scored, resamples=resamples),
        level_points={
            level: measure_points(scale.thresholds, levels[level], resamples=resamples)
            for level, scale in scales.items()
        },
    )


def evaluate_with_age(
    scored: Scored,
    ages: Sequence[float | None],
    calibration: AgeCalibration,
    *,
    thresholds: Mapping[str, float] | None = None,
    resamples: int = RESAMPLES,
) -> Evaluation | None:
    """Compute all measures with the women's ages in the probabilities, where the age is known.

    Parameters
    ----------
    scored
        Images.
    ages
        Age in years for each image, None if unknown.
    calibration
        Maps logits and ages to log-odds.
    thresholds, resamples
        As in `evaluate_scores`.

    Returns
    -------
    Evaluation or None
        None if those images, or their patients, are all of one class.
    """
    known = [i for i, age in enumerate(ages) if age is not None]
    log_odds = calibration.log_odds(
        scored.logits[known], np.array([ages[i] for i in known], dtype=np.float64)
    )
    informed = Scored.of(
        scored.labels[known],
        log_odds,
        patients=list(scored.patients[known]),
        breasts=list(scored.breasts[known]),
    )
    if np.unique(informed.labels).size < 2:
        return None
    try:
        return evaluate_scores(informed, thresholds=thresholds, resamples=resamples)
    except SingleClassError:  # by patient
        return None


def _groups(
    scored: Scored, values: Sequence[str | None], *, resamples: int
) -> tuple[dict[str, Group], Interval | None]:
    members = {
        value: np.flatnonzero([each == value for each in values])
        for value in sorted({each for each in values if each is not None}, key=_natural)
    }
    curves = {
        value: (Curve(scored.logits[where], scored.labels[where]), where)
        for value, where in members.items()
        if _large_enough(scored.labels[where])
    }

    def within(weights: FloatArray) -> dict[str, FloatArray]:
        areas = {value: curve.auc(weights[:, where]) for value, (curve, where) in curves.items()}
        # The mean is last and needs every group: resamples that lack a class in one are dropped.
        return {f"={value}": area for value, area in areas.items()} | {
            "mean": np.mean(list(areas.values()), axis=0)
        }

    intervals: Mapping[str, Interval] = {}
    if curves:
        intervals = bootstrap(within, scored.labels, scored.patients, resamples=resamples)
    table = {
        value: Group(
            images=where.size,
            patients=int(np.unique(scored.patients[where]).size),
            positives=int(scored.labels[where].sum()),
            auc=intervals.get(f"={value}"),
        )
        for value, where in members.items()
    }
    return table, intervals["mean"] if len(curves) > 1 else None


def _large_enough(labels: np.ndarray[Any, np.dtype[np.int64]]) -> bool:
    ones = int(labels.sum())
    return min(ones, labels.size - ones) >= MIN_PER_CLASS


def _natural(value: str) -> tuple[int, float, str]:
    """Sort numbers by value, before words in alphabetical order."""
    return (0, float(value), value) if value.isdecimal() else (1, 0.0, value)
