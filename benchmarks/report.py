"""Report results as tables for people, JSON for programs, and bars that are met or missed."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.environments import ROOT
from benchmarks.measurement import Spread

RESULTS: Final = Path(__file__).parent / "results"

_BUSY_LOAD: Final = 0.5
"""Load average of the last minute above which other programs disturb the measurements."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar for a measured value.

    Parameters
    ----------
    what
        Description of the value.
    value
        The measured value; None if not measured.
    limit
        Minimum (`at_least`) or maximum that meets the bar.
    at_least
        Whether higher is better.
    """

    what: str
    value: float | None
    limit: float
    at_least: bool

    @property
    def is_met(self) -> bool:
        """Whether the value was measured and meets the bar."""
        if self.value is None:
            return False
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def verdict(self) -> str:
        """``met``, ``missed`` or ``not measured``."""
        if self.value is None:
            return "not measured"
        return "met" if self.is_met else "missed"

    def cells(self) -> tuple[str, ...]:
        """Return description, value, limit and verdict for a table."""
        value = "–" if self.value is None else f"{self.value:.2f}"
        sign = "at least" if self.at_least else "at most"
        return self.what, value, f"{sign} {self.limit:.3g}", self.verdict

    def to_json(self) -> dict[str, Any]:
        """Return all fields and the verdict."""
        return {**asdict(self), "verdict": self.verdict}


def ratio(numerator: float | None, denominator: float | None) -> float | None:
    """Return the quotient; None if a part is missing or the denominator is 0."""
    if numerator is None or not denominator:
        return None
    return numerator / denominator


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Pad columns to their widest cell; the first is left-aligned, the others right-aligned."""
    lines = [list(titles), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(titles))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def spread_cell(spread: Spread, digits: int = 1, scale: float = 1.0) -> str:
    """Format as median (minimum-maximum), each times `scale`."""
    median, low, high = (
        f"{value * scale:.{digits}f}" for value in (spread.median, spread.low, spread.high)
    )
    return f"{median} ({low}-{high})"


def machine() -> dict[str, Any]:
    """Return the facts about this machine and checkout that affect results."""
    return {
        "processor": _processor(),
        "processors": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": _commit(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "load_before": round(os.getloadavg()[0], 2),
    }


def heading(facts: Mapping[str, Any]) -> str:
    """Return a line about the machine, and another one if it was busy."""
    line = (
        f"{facts['processor']}, {facts['processors']} processors, {facts['memory_gib']} GiB; "
        f"commit {facts['commit']}; {facts['time']}"
    )
    if facts["load_before"] > _BUSY_LOAD:
        line += (
            f"\nNOT QUIET: load average {facts['load_before']} before the first measurement; "
            "compare only ratios, and those with care."
        )
    return line


def write(name: str, results: Mapping[str, Any]) -> Path:
    """Write ``results/NAME.json`` and return its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    return path


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _commit() -> str:
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    return answer.stdout.strip() or "unknown"
