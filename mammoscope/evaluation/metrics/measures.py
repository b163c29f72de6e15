"""Measures of scored images, computed for many weightings at once."""

from typing import Final

import numpy as np

from mammoscope.evaluation.metrics.calibration_fit import fit_intercept, fit_logistic, varies
from mammoscope.evaluation.metrics.scored import Scored
from mammoscope.imaging.arrays import FloatArray, IntArray
from mammoscope.model.calibration import sigmoid

ECE_BINS: Final = 10
"""Bins of equal size: their calibration error is less biased than that of bins of equal width.

References
----------
R. Roelofs et al., "Mitigating bias in calibration error estimation", AISTATS 2022.
"""
SPECIFICITIES: Final = (0.90, 0.95)
SENSITIVITIES: Final = (0.90,)
_ROUNDING = 1e-9
_SEPARATED = 1e-6
"""Distance of fitted probabilities from the labels below which no finite slope fits best."""


class Measures:
    """All measures of one level (images, breasts or patients) as a weighted statistic.

    Parameters
    ----------
    scored
        The scored images, sorted once here; weights must be in the order of `scored`.
    threshold
        Probability from which an image counts as predicted label 1, for the accuracies.
    """

    def __init__(self, scored: Scored, *, threshold: float = 0.5) -> None:
        self._curve = Curve(scored.logits, scored.labels)
        self._labels = scored.labels.astype(np.float64)
        self._log_odds = scored.calibration.log_odds(scored.logits)
        self._probabilities = scored.probabilities
        self._right = ((self._probabilities >= threshold) == (scored.labels == 1)).astype(float)
        bins = equal_mass_bins(self._probabilities)
        gaps = self._probabilities - self._labels
        self._gaps = gaps[:, None] * (bins[:, None] == np.arange(ECE_BINS)[None, :])
        self._losses = np.logaddexp(0.0, self._log_odds) - self._labels * self._log_odds
        self._recalibration = Recalibration(self._log_odds, self._labels)

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Values (R,) by name for weights (R, N); NaN if undefined."""
        total = weights.sum(axis=1)
        ones = weights @ self._labels
        zeros = total - ones
        with np.errstate(invalid="ignore", divide="ignore"):
            sensitivity = weights @ (self._right * self._labels) / ones
            specificity = weights @ (self._right * (1.0 - self._labels)) / zeros
        values = self._curve.measures(weights)
        values |= {
            "accuracy": weights @ self._right / total,
            "majority": np.maximum(ones, zeros) / total,
            "balanced_accuracy": (sensitivity + specificity) / 2.0,
            "brier": weights @ (self._probabilities - self._labels) ** 2 / total,
            "log_loss": weights @ self._losses / total,
            "ece": np.abs(weights @ self._gaps).sum(axis=1) / total,
        }
        return values | self._recalibration(weights)


class Recalibration:
    """Slope of the recalibrating regression (ideally 1), and its intercept at slope 1 (ideally 0).

    The fit is exact for equal weights. Other weightings are one Newton step away, which makes
    thousands of resamples affordable.

    Parameters
    ----------
    log_odds
        Predicted log-odds (N,).
    labels
        Labels (N,), 0 or 1.

    References
    ----------
    D. Cox, Biometrika 45, 1958, and B. Van Calster et al., BMC Medicine 17:230, 2019 (slope and
    intercept). L. Moulton, S. Zeger, Comput. Stat. Data Anal. 11, 1991 (one-step bootstrap).
    """

    def __init__(self, log_odds: FloatArray, labels: FloatArray) -> None:
        self._intercept = fit_intercept(log_odds, labels)
        self._intercept_terms = self._terms(sigmoid(log_odds + self._intercept), labels)
        self._slope = np.nan
        if not varies(log_odds):
            return
        slope, intercept = fit_logistic(log_odds, labels)
        fitted = sigmoid(slope * log_odds + intercept)
        if np.abs(fitted - labels).max() < _SEPARATED:
            return
        self._slope = slope
        self._centre = float(log_odds.mean())
        residual, curvature = self._terms(fitted, labels).T
        x = log_odds - self._centre
        self._slope_terms = np.stack(
            [residual, residual * x, curvature, curvature * x, curvature * x**2], axis=1
        )

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Values (R,) by name for weights (R, N); the slope is NaN if the classes are separable."""
        residual, curvature = (weights @ self._intercept_terms).T
        with np.errstate(invalid="ignore", divide="ignore"):
            intercept = np.where(curvature > 0, self._intercept + residual / curvature, np.nan)
        if np.isnan(self._slope):
            slope = np.full(len(weights), np.nan)
        else:
            r0, r1, c0, c1, c2 = (weights @ self._slope_terms).T
            determinant = c0 * c2 - c1 * c1
            with np.errstate(invalid="ignore", divide="ignore"):
                change = np.where(determinant > 0, (c0 * r1 - c1 * r0) / determinant, np.nan)
            slope = self._slope + change
        return {"calibration_slope": slope, "calibration_intercept": intercept}

    @staticmethod
    def _terms(fitted: FloatArray, labels: FloatArray) -> FloatArray:
        return np.stack([labels - fitted, fitted * (1.0 - fitted)], axis=1)


class Curve:
    """The receiver operating characteristic, for many weightings at once.

    Parameters
    ----------
    scores
        Scores (N,), higher for label 1; ties are handled.
    labels
        Labels (N,), 0 or 1.
    """

    def __init__(self, scores: FloatArray, labels: IntArray) -> None:
        self._order = np.argsort(scores, kind="stable")[::-1]
        ranked = scores[self._order]
        self._positive = labels[self._order].astype(np.float64)
        self._starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
        self._tied = self._starts.size < ranked.size

    def counts(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weight of positives and negatives at each distinct score, in descending order: (R, U)."""
        ranked = weights[:, self._order]
        positives = ranked * self._positive
        negatives = ranked - positives
        if not self._tied:
            return positives, negatives
        return (
            np.add.reduceat(positives, self._starts, axis=1),
            np.add.reduceat(negatives, self._starts, axis=1),
        )

    def auc(self, weights: FloatArray) -> FloatArray:
        """Area under the curve (R,), ties count half; NaN if a class has no weight."""
        return _auc(*self.counts(weights))

    def rates(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Compute false and true positive rates (R, U + 1), from (0, 0) to (1, 1)."""
        return _rates(*self.counts(weights))

    def measures(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Values (R,) that depend only on the order of the scores."""
        positives, negatives = self.counts(weights)
        false_rate, true_rate = _rates(positives, negatives)
        values = {
            "auc": _auc(positives, negatives),
            "auprc": _average_precision(positives, negatives),
        }
        for wanted in SPECIFICITIES:
            allowed = false_rate <= 1.0 - wanted + _ROUNDING
            values[f"sensitivity_at_specificity_{wanted * 100:.0f}"] = np.where(
                allowed, true_rate, 0.0
            ).max(axis=1)
        for wanted in SENSITIVITIES:
            enough = true_rate >= wanted - _ROUNDING
            values[f"specificity_at_sensitivity_{wanted * 100:.0f}"] = 1.0 - np.where(
                enough, false_rate, 1.0
            ).min(axis=1)
        undefined = np.isnan(values["auc"])
        return {name: np.where(undefined, np.nan, value) for name, value in values.items()}


def equal_mass_bins(probabilities: FloatArray, bins: int = ECE_BINS) -> IntArray:
    """Bin (N,) in 0..bins-1 of each probability; equal probabilities share a bin."""
    edges = np.quantile(probabilities, np.arange(1, bins) / bins, method="higher")
    return np.searchsorted(np.unique(edges), probabilities, side="right").astype(np.int64)


def _auc(positives: FloatArray, negatives: FloatArray) -> FloatArray:
    ones, zeros = positives.sum(axis=1), negatives.sum(axis=1)
    below = zeros[:, None] - np.cumsum(negatives, axis=1) + negatives / 2.0
    with np.errstate(invalid="ignore", divide="ignore"):
        area = (positives * below).sum(axis=1) / (ones * zeros)
    return np.where((ones > 0) & (zeros > 0), area, np.nan)


def _rates(positives: FloatArray, negatives: FloatArray) -> tuple[FloatArray, FloatArray]:
    curves = []
    for weight in (negatives, positives):
        passed = np.cumsum(np.pad(weight, ((0, 0), (1, 0))), axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            curves.append(passed / passed[:, -1:])
    return curves[0], curves[1]


def _average_precision(positives: FloatArray, negatives: FloatArray) -> FloatArray:
    hits = np.cumsum(positives, axis=1)
    called = np.cumsum(positives + negatives, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        # As long as nothing is predicted positive, no positive is gained either.
        precision = np.where(called > 0, hits / called, 0.0)
        return np.asarray((precision * positives).sum(axis=1) / hits[:, -1])
