"""Confidence intervals for images clustered by patient."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np

from mammoscope.imaging.arrays import FloatArray, IntArray

Statistic = Callable[[FloatArray], Mapping[str, FloatArray]]
"""Maps weights (R, N) of N images in R resamples to named values (R,), NaN if undefined."""

RESAMPLES: Final = 2000
CONFIDENCE: Final = 0.95
_CHUNK_NUMBERS = 400_000
"""Number of weights in memory at a time: fits a processor's cache for any data set."""
_MAX_DRAWS_PER_RESAMPLE = 50


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement whose fields are numbers or other measurements."""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object of all fields; undefined numbers are null."""
        return asdict(self, dict_factory=_defined)


def _defined(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in fields
    }


@dataclass(frozen=True, slots=True)
class Interval(Measured):
    """A measured value and its 95 % confidence interval.

    Parameters
    ----------
    value
        Measured on the original data; NaN if undefined.
    low, high
        Ends of the interval; NaN if unavailable (fewer than two patients, or a statistic that is
        undefined on most resamples).
    """

    value: float
    low: float
    high: float

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read the result of `to_json`."""
        ends = (content[name] for name in ("value", "low", "high"))
        return cls(*(np.nan if end is None else float(end) for end in ends))

    def __str__(self) -> str:
        """Format the value with its interval, three decimals each; a dash if undefined."""
        if not np.isfinite(self.value):
            return "–"
        if not np.isfinite(self.low):
            return f"{self.value:.3f}"
        between = " to " if self.high < 0 else "–"  # a dash before a minus sign is hard to read
        return f"{self.value:.3f} ({self.low:.3f}{between}{self.high:.3f})"


def bootstrap(
    statistic: Statistic,
    labels: IntArray,
    patients: IntArray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Measure `statistic` and its percentile intervals from resamples of patients.

    Patients are drawn with replacement, together with all their images. Resamples with only one
    class are drawn again. A resample that leaves a statistic undefined (NaN) is dropped for that
    statistic. An interval is widened to contain the measured value if resampling is biased. This
    applies to the calibration error, which noise can only increase.

    Parameters
    ----------
    statistic
        The statistic. Its weights float64 (R, N) count how often each image was drawn.
    labels
        Labels (N,), 0 or 1, both present.
    patients
        Patient of each image (N,), numbered from 0 without gaps.
    resamples
        Number of resamples.
    seed
        Seed of the draws; the same seed and data give the same intervals.

    References
    ----------
    B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile
    intervals). C. Field, A. Welsh, "Bootstrapping clustered data", J. R. Stat. Soc. B 69, 2007.
    """
    measured = statistic(np.ones((1, labels.size)))
    drawn: dict[str, list[FloatArray]] = {name: [] for name in measured}
    for weights in draw_weights(labels, patients, resamples, seed):
        for name, values in statistic(weights).items():
            drawn[name].append(values)
    return {
        name: _interval(float(value[0]), drawn[name], resamples) for name, value in measured.items()
    }


def draw_weights(
    labels: IntArray, patients: IntArray, resamples: int, seed: int
) -> Iterator[FloatArray]:
    """Draw patients with replacement; yields weights float64 (R, N), `resamples` rows in total.

    There are fewer rows, or none, if few draws have both classes or if there is only one patient.
    """
    count = int(patients.max()) + 1 if patients.size else 0
    if count < 2:
        return
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_NUMBERS // labels.size)
    missing, draws = resamples, _MAX_DRAWS_PER_RESAMPLE * resamples
    positives = labels.astype(np.float64)
    while missing > 0 and draws > 0:
        rows = min(chunk, missing)
        draws -= rows
        multiplicities = rng.multinomial(count, np.full(count, 1.0 / count), size=rows)
        weights = multiplicities.astype(np.float64)[:, patients]
        ones = weights @ positives
        kept = weights[(ones > 0) & (ones < weights.sum(axis=1))]
        missing -= len(kept)
        if len(kept):
            yield kept


def _interval(value: float, drawn: list[FloatArray], resamples: int) -> Interval:
    values = np.concatenate(drawn) if drawn else np.empty(0)
    values = values[np.isfinite(values)]
    if not np.isfinite(value) or values.size < resamples / 2:
        return Interval(value, float("nan"), float("nan"))
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return Interval(value, min(float(low), value), max(float(high), value))
