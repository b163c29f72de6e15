"""Rules that aggregate the scores of a breast's views, or of a patient's breasts, compared.

Only breasts with equally many views are compared with one another, and only patients with equally
many breasts: the highest of two is above the highest of one by chance alone, and data sets that
image the ill breast of the ill and both of the healthy would turn that into a result.
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
"""What `Scored.by_breast` and `Scored.by_patient` do, by level."""


@dataclass(frozen=True, slots=True)
class RuleResult(Measured):
    """What one rule reaches.

    Parameters
    ----------
    auc
        Share of pairs of label 1 and label 0, with equally many members, in which the former
        scores higher; NaN without any such pair.
    gain
        AUC less that of the rule in use, over the same resamples of patients; None for that rule.
    """

    auc: Interval
    gain: Interval | None


def compare_rules(
    images: Scored, *, resamples: int = RESAMPLES
) -> dict[str, dict[str, RuleResult]]:
    """Measure rules on validation images, so that the one in use is a choice and no habit.

    A rule would have to replace the one in use where the whole interval of its gain lies above 0.

    Parameters
    ----------
    images
        With their patients and breasts, both classes present.
    resamples
        Of the intervals.

    Returns
    -------
    dict
        By level, ``breast`` and ``patient``, and by rule: ``mean`` and ``highest`` of the logits;
        ``noisy_or``, the probability that not all of the calibrated probabilities miss, as if they
        were independent. For patients the rules take the breasts' mean logits.
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
    """Measure each rule on the level `whole`, whose units are the `groups` of `members`."""
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
        with np.errstate(invalid="ignore"):  # no pair at all
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
    """Log of the probability that all miss, negated: it orders as the probability itself."""
    missed = np.log(sigmoid(-members.calibration.log_odds(members.logits)))
    return np.asarray(-np.bincount(groups, weights=missed), np.float64)


_RULES: Final[Mapping[str, Callable[[Scored, IntArray], FloatArray]]] = {
    "mean": _mean,
    "highest": _highest,
    "noisy_or": _noisy_or,
}
