"""Fit calibrations: Platt scaling, without or with the age."""

import numpy as np
import numpy.typing as npt

from mammoscope.imaging.arrays import FloatArray, IntArray
from mammoscope.model.calibration import (
    AgeCalibration,
    Calibration,
    decades_from_centre,
    sigmoid,
)

_MAX_STEPS = 200
_MAX_LOG_ODDS_STEP = 10.0
_TOLERANCE = 1e-20
_MIN_STANDARD_SLOPE = 1e-3
"""Minimum slope per standard deviation of the logits, so that probability rises with the logit."""


def fit_platt(logits: npt.ArrayLike, labels: npt.ArrayLike) -> Calibration:
    """Fit Platt scaling by maximum likelihood on smoothed targets.

    If the data do not determine a slope (fewer than two distinct logits, or one class), the slope
    is 1 and only the intercept is fitted. A slope at or below 0 is replaced by one slightly above
    0, so that the order of images is never reversed.

    Parameters
    ----------
    logits
        Raw scores (N,), finite.
    labels
        Labels (N,), 0 or 1.

    Raises
    ------
    ValueError
        If there are no images, the lengths differ, a logit is not finite or a label is not 0 or 1.

    References
    ----------
    J. Platt, "Probabilistic outputs for support vector machines", 1999: targets
    (n1 + 1) / (n1 + 2) and 1 / (n0 + 2). H.-T. Lin et al., Machine Learning 68, 2007: fitting.
    """
    x, y = np.asarray(logits, np.float64), np.asarray(labels)
    targets = _smoothed(x, y)
    if np.unique(y).size < 2 or not varies(x):
        return Calibration(intercept=fit_intercept(x, targets))
    slope, intercept = fit_logistic(x, targets)
    least = _MIN_STANDARD_SLOPE / float(x.std())
    if slope < least:
        return Calibration(slope=least, intercept=fit_intercept(least * x, targets))
    return Calibration(slope=slope, intercept=intercept)


def fit_platt_with_age(
    logits: npt.ArrayLike, ages: npt.ArrayLike, labels: npt.ArrayLike
) -> AgeCalibration | None:
    """Fit Platt scaling with the age as a second variable; otherwise like `fit_platt`.

    Parameters
    ----------
    logits
        Raw scores (N,), finite.
    ages
        Ages (N,) in years, finite.
    labels
        Labels (N,), 0 or 1.

    Returns
    -------
    AgeCalibration or None
        None if the data do not determine it: one class, constant logits or ages, or a logit that
        adds nothing to the age.

    Raises
    ------
    ValueError
        If there are no images, the lengths differ or a value is invalid.
    """
    x, y = np.asarray(logits, np.float64), np.asarray(labels)
    years = np.asarray(ages, np.float64)
    targets = _smoothed(x, y)
    if years.shape != x.shape or not np.isfinite(years).all():
        raise ValueError("ages must have the length of logits and be finite")
    if np.unique(y).size < 2 or not varies(x) or not varies(years):
        return None
    decades = decades_from_centre(years)
    centre, spread = float(x.mean()), float(x.std())
    design = np.stack([np.ones_like(x), (x - centre) / spread, decades], axis=1)
    shift, slope, per_decade = (
        float(value) for value in _newton(design, np.zeros_like(x), targets)
    )
    if slope < _MIN_STANDARD_SLOPE:
        return None
    return AgeCalibration(
        slope=slope / spread, intercept=shift - slope / spread * centre, per_decade=per_decade
    )


def platt_covariance(
    logits: npt.ArrayLike,
    labels: npt.ArrayLike,
    patients: npt.ArrayLike,
    calibration: Calibration,
) -> FloatArray | None:
    """Covariance of the slope and intercept that `fit_platt` fitted, robust to patients' clusters.

    The variance of the calibrated log-odds at a logit x is ``v @ covariance @ v``, v = (x, 1).

    Parameters
    ----------
    logits, labels
        Those of the fit, (N,).
    patients
        Patient of each image (N,), numbered from 0 without gaps.
    calibration
        Result of `fit_platt`.

    Returns
    -------
    ndarray or None
        float64 (2, 2) in the order slope, intercept; None if the data do not determine it: fewer
        than two patients, one class, or constant logits.

    References
    ----------
    K.-Y. Liang, S. Zeger, Biometrika 73, 1986: the sandwich estimator for clustered data.
    """
    x, y = np.asarray(logits, np.float64), np.asarray(labels)
    if np.unique(y).size < 2 or not varies(x):
        return None
    design = np.stack([x, np.ones_like(x)], axis=1)
    residuals = _smoothed(x, y) - calibration.probabilities(x)
    return _sandwich(design, calibration.log_odds(x), residuals, np.asarray(patients))


def platt_covariance_with_age(
    logits: npt.ArrayLike,
    ages: npt.ArrayLike,
    labels: npt.ArrayLike,
    patients: npt.ArrayLike,
    calibration: AgeCalibration,
) -> FloatArray | None:
    """Covariance of slope, intercept and change per decade that `fit_platt_with_age` fitted.

    As `platt_covariance`, float64 (3, 3), with ages (N,) in years and v = (x, 1, decades from 60).
    """
    x, y = np.asarray(logits, np.float64), np.asarray(labels)
    years = np.asarray(ages, np.float64)
    if np.unique(y).size < 2 or not varies(x) or not varies(years):
        return None
    design = np.stack([x, np.ones_like(x), decades_from_centre(years)], axis=1)
    log_odds = calibration.log_odds(x, years)
    residuals = _smoothed(x, y) - sigmoid(log_odds)
    return _sandwich(design, log_odds, residuals, np.asarray(patients))


def _sandwich(
    design: FloatArray, log_odds: FloatArray, residuals: FloatArray, clusters: IntArray
) -> FloatArray | None:
    """Covariance (K, K) of a logistic regression on a design (N, K), by clusters (N,)."""
    count = int(clusters.max()) + 1
    if count < 2:
        return None
    fitted = sigmoid(log_odds)
    information = (design * (fitted * (1.0 - fitted))[:, None]).T @ design
    by_cluster = np.zeros((count, design.shape[1]))
    np.add.at(by_cluster, clusters, design * residuals[:, None])
    try:
        bread = np.linalg.inv(information)
    except np.linalg.LinAlgError:
        return None
    covariance = bread @ (by_cluster.T @ by_cluster) @ bread * count / (count - 1)
    return covariance if np.isfinite(covariance).all() else None


def _smoothed(x: FloatArray, y: npt.NDArray[np.generic]) -> FloatArray:
    """Return Platt's targets for labels y (N,); checks logits x (N,) and labels."""
    if x.ndim != 1 or x.shape != y.shape or x.size == 0:
        raise ValueError("logits and labels must be non-empty and of the same length")
    if not np.isfinite(x).all() or not np.isin(y, (0, 1)).all():
        raise ValueError("logits must be finite and labels 0 or 1")
    ones = int(np.sum(y))
    zeros = y.size - ones
    return np.where(y == 1, (ones + 1.0) / (ones + 2.0), 1.0 / (zeros + 2.0))


def fit_logistic(x: FloatArray, targets: FloatArray) -> tuple[float, float]:
    """Fit ``sigmoid(slope * x + intercept)`` to `targets` by maximum likelihood.

    Parameters
    ----------
    x
        Values (N,), not all equal.
    targets
        Target probabilities (N,) in [0, 1].

    Returns
    -------
    slope, intercept
        Of arbitrary size if `x` separates targets of 0 from targets of 1 perfectly.
    """
    centre, spread = float(x.mean()), float(x.std())
    design = np.stack([np.ones_like(x), (x - centre) / spread], axis=1)
    shift, slope = (float(value) for value in _newton(design, np.zeros_like(x), targets))
    return slope / spread, shift - slope / spread * centre


def fit_intercept(offset: FloatArray, targets: FloatArray) -> float:
    """Fit ``sigmoid(offset + intercept)`` to `targets`, both (N,), by maximum likelihood."""
    centre = float(offset.mean())
    return float(_newton(np.ones((offset.size, 1)), offset - centre, targets)[0]) - centre


def varies(x: FloatArray) -> bool:
    """Whether values differ by more than rounding errors."""
    return float(np.ptp(x)) > 1e-9 * max(1.0, float(np.abs(x).max()))


def _newton(design: FloatArray, offset: FloatArray, targets: FloatArray) -> FloatArray:
    """Fit a logistic regression on a design (N, K) with a fixed offset (N,): coefficients (K,).

    Newton steps are halved until the loss falls. The loss is convex, so this converges.
    """

    def loss(coefficients: FloatArray) -> float:
        log_odds = design @ coefficients + offset
        return float(np.mean(np.logaddexp(0.0, log_odds) - targets * log_odds))

    coefficients = np.zeros(design.shape[1])
    current = loss(coefficients)
    for _ in range(_MAX_STEPS):
        fitted = sigmoid(design @ coefficients + offset)
        gradient = design.T @ (fitted - targets) / len(design)
        curvature = (design * (fitted * (1.0 - fitted))[:, None]).T @ design / len(design)
        # A slight ridge keeps a saturated system solvable; it does not move the optimum.
        step = np.linalg.solve(curvature + 1e-12 * np.eye(len(coefficients)), gradient)
        if step @ gradient < _TOLERANCE:
            break
        step *= min(1.0, _MAX_LOG_ODDS_STEP / float(np.abs(step).max()))
        trial = loss(coefficients - step)
        while trial > current and np.abs(step).max() > np.finfo(np.float64).eps:
            step /= 2.0
            trial = loss(coefficients - step)
        if trial > current:
            break
        coefficients, current = coefficients - step, trial
    return coefficients
