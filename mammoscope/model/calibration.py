"""Calibration: maps raw logits to probabilities. The card stores it; the metrics fit it."""

import math
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mammoscope.imaging.arrays import FloatArray
from mammoscope.settings.frozen import Frozen

AGE_CENTRE_YEARS: Final = 60.0
YEARS_A_DECADE: Final = 10.0
"""The age enters as decades from this centre, about the mean age in screening."""

_Slope = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
_Shift = Annotated[float, Field(allow_inf_nan=False)]


class Calibration(Frozen):
    """Platt scaling: the log-odds of a tumour are ``slope * logit + intercept``.

    Parameters
    ----------
    slope
        Factor, positive; below 1 it reduces overconfidence.
    intercept
        Shift in log-odds.

    Raises
    ------
    ValueError
        If `slope` is not a positive number or `intercept` is not finite.
    """

    slope: _Slope = 1.0
    intercept: _Shift = 0.0

    def probability(self, logit: float) -> float:
        """Calibrated probability in [0, 1] of one raw logit."""
        return _probability(self.slope * logit + self.intercept)

    def log_odds(self, logits: npt.ArrayLike) -> FloatArray:
        """Calibrated log-odds of label 1, float64, shaped like `logits`."""
        return self.slope * np.asarray(logits, np.float64) + self.intercept

    def probabilities(self, logits: npt.ArrayLike) -> FloatArray:
        """Calibrated probabilities of label 1, float64 in [0, 1], shaped like `logits`."""
        return sigmoid(self.log_odds(logits))


class AgeCalibration(Frozen):
    """Platt scaling with the woman's age as a second variable.

    Log-odds are ``slope * logit + per_decade * (age - 60) / 10 + intercept``.

    Parameters
    ----------
    slope
        Factor of the logit, positive.
    intercept
        Shift in log-odds at 60 years.
    per_decade
        Change in log-odds per decade of age.

    Raises
    ------
    ValueError
        If `slope` is not a positive number or another value is not finite.
    """

    slope: _Slope
    intercept: _Shift
    per_decade: _Shift

    def probability(self, logit: float, age: float) -> float:
        """Calibrated probability in [0, 1] of one raw logit and an age in years."""
        decades = (age - AGE_CENTRE_YEARS) / YEARS_A_DECADE
        return _probability(self.slope * logit + self.per_decade * decades + self.intercept)

    def log_odds(self, logits: npt.ArrayLike, ages: npt.ArrayLike) -> FloatArray:
        """Calibrated log-odds of label 1, float64 (N,), for logits (N,) and ages (N,) in years."""
        return (
            self.slope * np.asarray(logits, np.float64)
            + self.per_decade * decades_from_centre(np.asarray(ages, np.float64))
            + self.intercept
        )


def decades_from_centre(years: FloatArray) -> FloatArray:
    """Convert ages (N,) in years to decades from `AGE_CENTRE_YEARS`."""
    return (years - AGE_CENTRE_YEARS) / YEARS_A_DECADE


def sigmoid(log_odds: FloatArray) -> FloatArray:
    """Convert `log_odds` to probabilities in [0, 1], without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -log_odds)), np.float64)


def _probability(log_odds: float) -> float:
    # Python floats, so that a single probability does not depend on the release of NumPy. Two
    # forms, so that the exponential cannot overflow.
    if log_odds >= 0:
        return 1.0 / (1.0 + math.exp(-log_odds))
    return math.exp(log_odds) / (1.0 + math.exp(log_odds))
