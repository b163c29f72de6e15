"""Operating points: thresholds chosen on validation images and then fixed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mammoscope.evaluation.metrics.calibration_fit import fit_platt
from mammoscope.evaluation.metrics.intervals import (
    RESAMPLES,
    Interval,
    Measured,
    Statistic,
    bootstrap,
)
from mammoscope.evaluation.metrics.measures import Curve
from mammoscope.evaluation.metrics.scored import Scored
from mammoscope.imaging.arrays import FloatArray, IntArray
from mammoscope.model.calibration import Calibration

TARGET_RATE: Final = 0.90
"""Minimum specificity of ``high_specificity`` and sensitivity of ``high_sensitivity``."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class OperatingPoint(Measured):
    """A threshold and its measured sensitivity and specificity.

    Parameters
    ----------
    threshold
        Probability in (0, 1) from which an image counts as predicted label 1.
    sensitivity, specificity
        Measured at a fixed threshold: the intervals do not include the uncertainty in choosing the
        threshold.
    """

    threshold: float
    sensitivity: Interval
    specificity: Interval


@dataclass(frozen=True, slots=True)
class Scale:
    """Calibration and thresholds of one level, such as breasts.

    Parameters
    ----------
    calibration
        Maps the level's logits to probabilities.
    thresholds
        Operating points by name, as probabilities.
    """

    calibration: Calibration
    thresholds: Mapping[str, float]


def fit_scale(scored: Scored, default: str) -> Scale:
    """Fit calibration and operating points to validation scores of one level.

    Parameters
    ----------
    scored
        Scores of both classes; their own calibration is ignored.
    default
        Name of the additional point at probability 0.5, next to those of `operating_points`.

    Raises
    ------
    ValueError
        If there are not scores of both classes.
    """
    calibration = fit_platt(scored.logits, scored.labels)
    points = operating_points(
        calibration.probabilities(scored.logits), scored.labels, list(scored.patients)
    )
    return Scale(
        calibration, {default: 0.5, **{name: each.threshold for name, each in points.items()}}
    )


def operating_points(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    patients: Sequence[Any] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, OperatingPoint]:
    """Choose ``high_sensitivity`` and ``high_specificity`` on validation images.

    ``high_specificity`` is the lowest threshold with a specificity of at least 0.90,
    ``high_sensitivity`` the highest with a sensitivity of at least 0.90. Each lies half-way between
    two neighbouring scores, so that rounding does not move an image across it.

    Parameters
    ----------
    probabilities
        Calibrated probabilities (N,) in [0, 1].
    labels
        Labels (N,), 0 and 1, both present.
    patients
        Patient id of each image; None makes each image a patient.
    resamples, seed
        Number of bootstrap resamples for the intervals, and their seed.

    Raises
    ------
    ValueError
        If there are not images of both classes, or lengths or values are invalid.
    """
    values = np.asarray(probabilities, np.float64)
    scored = Scored.of(labels, values, patients=patients)
    if np.unique(scored.labels).size < 2:
        raise ValueError("operating points need images of both classes")
    false_rate, true_rate = (
        rate[0] for rate in Curve(values, scored.labels).rates(np.ones((1, values.size)))
    )
    distinct = np.unique(values)[::-1]
    specific = int(np.flatnonzero(false_rate <= 1.0 - TARGET_RATE + _ROUNDING)[-1])
    sensitive = int(np.flatnonzero(true_rate >= TARGET_RATE - _ROUNDING)[0])
    thresholds = {
        "high_sensitivity": _threshold_after(distinct, sensitive),
        "high_specificity": _threshold_after(distinct, specific),
    }
    return _measure(thresholds, values, scored, resamples, seed)


def measure_points(
    thresholds: Mapping[str, float],
    scored: Scored,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, OperatingPoint]:
    """Measure given thresholds, as probabilities, on any images.

    A rate without images of its class is NaN.
    """
    return _measure(thresholds, scored.probabilities, scored, resamples, seed)


def _measure(
    thresholds: Mapping[str, float],
    values: FloatArray,
    scored: Scored,
    resamples: int,
    seed: int,
) -> dict[str, OperatingPoint]:
    if not thresholds:
        return {}
    rates = _rates(thresholds, values, scored.labels)
    measured = bootstrap(rates, scored.labels, scored.patients, resamples=resamples, seed=seed)
    return {
        name: OperatingPoint(
            float(threshold), measured[f"{name}/sensitivity"], measured[f"{name}/specificity"]
        )
        for name, threshold in thresholds.items()
    }


def rates_at(thresholds: Mapping[str, float], scored: Scored) -> Statistic:
    """Return sensitivity and specificity at probability thresholds, as ``NAME/sensitivity`` etc.

    A rate without images of its class is NaN.
    """
    return _rates(thresholds, scored.probabilities, scored.labels)


def _rates(thresholds: Mapping[str, float], values: FloatArray, labels: IntArray) -> Statistic:
    right = {name: (values >= threshold) == (labels == 1) for name, threshold in thresholds.items()}

    def rates(weights: FloatArray) -> dict[str, FloatArray]:
        found: dict[str, FloatArray] = {}
        for label, rate in ((1, "sensitivity"), (0, "specificity")):
            of_class = weights @ (labels == label)
            for name, correct in right.items():
                hits = weights @ (correct & (labels == label))
                with np.errstate(invalid="ignore", divide="ignore"):
                    found[f"{name}/{rate}"] = np.where(of_class > 0, hits / of_class, np.nan)
        return found

    return rates


def _threshold_after(distinct: FloatArray, count: int) -> float:
    """Threshold in (0, 1) that exactly the `count` highest of `distinct` scores reach."""
    upper = float(distinct[count - 1]) if count > 0 else 1.0
    lower = float(distinct[count]) if count < distinct.size else 0.0
    middle = lower + (upper - lower) / 2.0
    if not lower < middle:
        middle = upper
    return float(np.clip(middle, np.finfo(np.float64).tiny, np.nextafter(1.0, 0.0)))
