"""Confidence intervals that know that the images of one patient belong together."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np

from mammoscope.imaging.arrays import FloatArray, IntArray

Statistic = Callable[[FloatArray], Mapping[str, FloatArray]]
"""Weights (R, N) of N images in R resamples -> named values (R,), NaN where undefined."""

RESAMPLES: Final = 2000
CONFIDENCE: Final = 0.95
_CHUNK_NUMBERS = 400_000
"""Weights held at a time: small enough for a processor's cache, whatever the data set."""
_MAX_DRAWS_PER_RESAMPLE = 50


@dataclass(frozen=True, slots=True)
class Measured:
    """Something measured, whose fields are numbers or what was measured in turn."""

    def to_json(self) -> dict[str, Any]:
        """JSON object of all fields; a number that is undefined is null."""
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
        Measured on the data as they are; NaN where undefined.
    low, high
        Ends of the interval; NaN where it cannot be given (fewer than two patients, or a statistic
        that most resamples leave undefined).
    """

    value: float
    low: float
    high: float

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        ends = (content[name] for name in ("value", "low", "high"))
        return cls(*(np.nan if end is None else float(end) for end in ends))

    def __str__(self) -> str:
        """Value with its interval, three decimals each; a dash where there is none."""
        if not np.isfinite(self.value):
            return "–"
        if not np.isfinite(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


def bootstrap(
    statistic: Statistic,
    labels: IntArray,
    patients: IntArray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Measure `statistic` and its percentile intervals from resamples of patients.

    Patients are drawn with replacement, all images of a drawn patient with them. Resamples with
    one class only are drawn again; those that leave a single statistic undefined (NaN) are dropped
    for it. An interval is widened to hold the measured value where resampling is biased, as it is
    for the calibration error, to which noise can only add.

    Parameters
    ----------
    statistic
        What to measure. It gets weights float64 (R, N): how often each image was drawn.
    labels
        Labels (N,), 0 or 1, of both kinds.
    patients
        Number of the patient (N,), from 0 without gaps.
    resamples
        Resamples to draw.
    seed
        Same seed, same data, same intervals.

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
    """Draw patients with replacement; yields weights float64 (R, N), R small, `resamples` in all.

    Fewer, or none, come where hardly a draw holds both classes or where there is one patient only.
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
