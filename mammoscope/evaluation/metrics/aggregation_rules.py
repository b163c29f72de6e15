"""Compare rules that aggregate the scores of a breast's views, or of a patient's breasts.

Only breasts with the same number of views are compared, and only patients with the same number of
breasts. The maximum of two scores is higher than one score by chance alone. Some data sets image
only the diseased breast of patients and both breasts of healthy women, which would bias the result.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from mammoscope.evaluation.metrics.intervals import RESAMPLES, Interval, Measured, bootstrap
from mammoscope.evaluation.metrics.measures import Curve
from mammoscope.evaluation.metrics.scored import Scored
from mammoscope.imaging.arrays import FloatArray, IntArray
from mammoscope.model.calibration import sigmoid

RULES_IN_USE: Final[Mapping[str, str]] = {"breast": "mean", "patient": "highest"}
"""The rules of `Scored.by_breast` and `Scored.by_patient`."""


@dataclass(frozen=True, slots=True)
class RuleResult(Measured):
    """Result of one rule.

    Parameters
    ----------
    auc
        Share of pairs of label 1 and label 0, with the same number of members, in which label 1
        scores higher; NaN without such pairs.
    gain
        AUC minus that of the rule in use, on the same resamples of patients; None for that rule.
    """

    auc: Interval
    gain: Interval | None


def compare_rules(
    images: Scored, *, resamples: int = RESAMPLES
) -> dict[str, dict[str, RuleResult]]:
    """Measure the alternatives to the rule in use, on validation images.

    Another rule should replace the one in use if the whole interval of its gain is above 0.

    Parameters
    ----------
    images
        Images with their patients and breasts, of both classes.
    resamples
        Number of bootstrap resamples for the intervals.

    Returns
    -------
    dict
        By level, ``breast`` and ``patient``, and by rule: ``mean`` and ``highest`` of the logits,
        and ``noisy_or``, the probability that at least one calibrated probability is right,
        assuming independence. For patients, the rules use the breasts' mean logits.
    """
    breasts = images.by_breast()
    patients = images.by_patient()
    levels = {
        "breast": (images, images.breasts, breasts),
        "patient": (breasts, breasts.patients, patients),
    }
    return {
        level: _compare(members, groups, whole, level=level, resamples=resamples)
        for level, (members, groups, whole) in levels.items()
    }


def _compare(
    members: Scored, groups: IntArray, whole: Scored, *, level: str, resamples: int
) -> dict[str, RuleResult]:
    """Measure each rule at the level `whole`, whose units are the `groups` of `members`."""
    in_use = RULES_IN_USE[level]
    counts = np.bincount(groups)
    strata = [np.flatnonzero(counts == count) for count in np.unique(counts)]
    scores = {name: rule(members, groups) for name, rule in _RULES.items()}
    curves = {
        name: [Curve(found[where], whole.labels[where]) for where in strata]
        for name, found in scores.items()
    }

    def pairs(weights: FloatArray) -> FloatArray:
        ones = [weights[:, where] @ (whole.labels[where] == 1) for where in strata]
        zeros = [weights[:, where] @ (whole.labels[where] == 0) for where in strata]
        return np.asarray(np.stack(ones) * np.stack(zeros), np.float64)

    def area(parts: list[Curve], weights: FloatArray, counted: FloatArray) -> FloatArray:
        areas = [curve.auc(weights[:, where]) for curve, where in zip(parts, strata, strict=True)]
        with np.errstate(invalid="ignore"):  # there may be no pairs
            ordered = np.where(counted > 0, np.stack(areas), 0.0) * counted
            return np.asarray(ordered.sum(axis=0) / counted.sum(axis=0), np.float64)

    def statistic(weights: FloatArray) -> dict[str, FloatArray]:
        counted = pairs(weights)
        areas = {name: area(parts, weights, counted) for name, parts in curves.items()}
        gains = {f"{name} gain": each - areas[in_use] for name, each in areas.items()}
        return areas | gains

    found = bootstrap(statistic, whole.labels, whole.patients, resamples=resamples)
    return {
        name: RuleResult(found[name], None if name == in_use else found[f"{name} gain"])
        for name in scores
    }


def _mean(members: Scored, groups: IntArray) -> FloatArray:
    return np.asarray(np.bincount(groups, weights=members.logits) / np.bincount(groups), np.float64)


def _highest(members: Scored, groups: IntArray) -> FloatArray:
    found = np.full(int(groups.max()) + 1, -np.inf)
    np.maximum.at(found, groups, members.logits)
    return found


def _noisy_or(members: Scored, groups: IntArray) -> FloatArray:
    """Negative log of the probability that all are wrong; it sorts like the probability itself."""
    missed = np.log(sigmoid(-members.calibration.log_odds(members.logits)))
    return np.asarray(-np.bincount(groups, weights=missed), np.float64)


_RULES: Final[Mapping[str, Callable[[Scored, IntArray], FloatArray]]] = {
    "mean": _mean,
    "highest": _highest,
    "noisy_or": _noisy_or,
}
