"""Medians with spread, rates and percentiles of repeated measurements.

This module uses the standard library only, because processes in all environments import it.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of repeated measurements, with the minimum and the maximum."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Summarise `values`, which must not be empty."""
        return cls(statistics.median(values), min(values), max(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of `values` that at least `percent` % do not exceed (nearest rank).

    With fewer than 100 values, the 99th percentile is the maximum: nothing is interpolated.
    """
    ordered = sorted(values)
    # In hundredths, so that 99 % of 100 is exactly 99.
    rank = -(-len(ordered) * round(percent * 100) // 10_000)
    return ordered[max(rank, 1) - 1]


def rate(finished: Sequence[float], begin: float, end: float) -> float:
    """Return the events per second within (begin, end], both in seconds on the clock of `finished`.

    The rate is counted from the last event at or before `begin` to the last event within the
    window. An event that the window cuts is thus not lost, which would be most of the error with
    few slow events.

    Parameters
    ----------
    finished
        Times of the events, in any order; may include events outside the window.
    begin, end
        The window; it starts at `begin` itself if no event came before.
    """
    inside = [time for time in finished if begin < time <= end]
    if not inside:
        return 0.0
    start = max((time for time in finished if time <= begin), default=begin)
    return len(inside) / (max(inside) - start)
