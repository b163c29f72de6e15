"""Repeated measurements to a median with its spread, rates and percentiles; standard library only.

Processes in any of the environments import this, so it needs no package.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of repeated measurements, with the least and the largest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Summarise `values`, at least one."""
        return cls(statistics.median(values), min(values), max(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """Smallest of `values` that at least `percent` of 100 of them do not exceed (nearest rank).

    With fewer than 100 values the 99th percentile is the largest: nothing is interpolated.
    """
    ordered = sorted(values)
    # In hundredths, so that 99 % of 100 is 99 and not a little more.
    rank = -(-len(ordered) * round(percent * 100) // 10_000)
    return ordered[max(rank, 1) - 1]


def rate(finished: Sequence[float], begin: float, end: float) -> float:
    """Events a second within (begin, end], both in seconds on the clock of `finished`.

    Counted from the last event at or before `begin` to the last one within, so that a window that
    cuts through an event does not lose it: with few slow events that is most of the error.

    Parameters
    ----------
    finished
        Times of the events, in any order; those outside the window may be among them.
    begin, end
        The window; it begins at `begin` itself where no event came before it.
    """
    inside = [time for time in finished if begin < time <= end]
    if not inside:
        return 0.0
    start = max((time for time in finished if time <= begin), default=begin)
    return len(inside) / (max(inside) - start)
