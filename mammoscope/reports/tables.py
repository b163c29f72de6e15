"""Tables of runs, as HTML and Markdown."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from mammoscope.evaluation.metrics.intervals import Interval, bootstrap
from mammoscope.evaluation.metrics.measures import Curve
from mammoscope.reports.record import Run
from mammoscope.system import schema

NOTHING: Final = "–"
WATTS_PER_PROCESSOR: Final = 10.0
"""Estimated power of one busy processor core, including memory and power supply, in watts.

Recent servers draw 5 to 15 W per core under load. The training machine's power was not measured.
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A header and rows of text; notebooks display it as HTML."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, str]], note: str = "") -> Self:
        """Make a table from rows with equal keys; the keys become the header."""
        return cls(tuple(rows[0]), tuple(tuple(row.values()) for row in rows), note)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(cell)}</th>" for cell in self.header)
        body = "\n".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        note = f"<p>{escape(self.note)}</p>" if self.note else ""
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>{note}"

    def _repr_markdown_(self) -> str:
        lines = [self.header, ("---",) * len(self.header), *self.rows]
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{text}\n\n{self.note}" if self.note else text

    __str__ = _repr_markdown_


def tabulate_performance(runs: Sequence[Run]) -> Table:
    """Tabulate the finished networks' validation measures, with intervals by patient."""
    others = [run.name for run in runs if run.by_folds]
    return Table.of(
        [
            {"run": run.name, "input": _size(run)}
            | {title: cell(run.interval(*path)) for title, path in _MEASURES.items()}
            for run in runs
        ],
        "Measured on images of validation patients, none of whom the measured network was trained "
        "on. Brackets show 95 % intervals from bootstrap resamples of patients."
        + (f" {measured_by_folds(others)}" if others else ""),
    )


def measured_by_folds(names: Sequence[str]) -> str:
    """Return a sentence on the figures of runs that are measured by fold."""
    return (
        f"Figures of {', '.join(names)}: out of fold, for the mean of the networks that the run is "
        "calibrated on, not for its own network."
    )


_MEASURES: Final[Mapping[str, tuple[str, ...]]] = {
    "AUC by image": ("auc",),
    "AUC by breast": ("breast", "auc"),
    "within scanners": ("within_machine",),
    "accuracy": ("accuracy",),
    "log-loss": ("log_loss",),
    "calibration error": ("ece",),
}


def tabulate_epochs(runs: Sequence[Run]) -> Table:
    """Tabulate the mean over epochs and the final value of accuracy and loss."""
    return Table.of(
        [
            {"run": run.name, "epochs": str(_epochs(run))}
            | {
                f"{kind} {side} {measure}": _number(pick(run.epochs(side, measure)))
                for measure in ("accuracy", "loss")
                for side in ("train", "validation")
                for kind, pick in _KINDS.items()
            }
            for run in runs
        ]
    )


_KINDS: Final[Mapping[str, Callable[[npt.NDArray[np.float64]], float]]] = {
    "mean": lambda values: float(np.nanmean(values)) if np.isfinite(values).any() else math.nan,
    "final": lambda values: float(values[-1]),
}


def tabulate_costs(runs: Sequence[Run], watts: float = WATTS_PER_PROCESSOR) -> Table:
    """Tabulate network size, operations per image and training cost.

    Parameters
    ----------
    runs
        Finished runs.
    watts
        Assumed power of one busy processor core in watts.
    """
    return Table.of(
        [
            {
                "run": run.name,
                "input": _size(run),
                "parameters / 10⁶": _scaled(run.network.get("parameters"), 1e6),
                "multiply-adds per image / 10⁹": _scaled(run.network.get("multiply_adds"), 1e9),
                "processor seconds per epoch": _number(
                    run.processor_seconds / max(_epochs(run), 1), 0
                ),
                "processor hours": _number(run.processor_seconds / 3600, 2),
                "Wh, estimated": _number(run.processor_seconds / 3600 * watts, 1),
                "AUC by image": cell(run.interval("auc")),
            }
            for run in runs
        ],
        f"Energy is an estimate: processor time multiplied by {watts:g} W per processor. Power "
        "consumption was not measured.",
    )


def tabulate_changes(baseline: Run, runs: Sequence[Run]) -> Table:
    """Compare each run to the baseline: the changed settings, the AUC and the log-loss."""
    return Table.of(
        [
            {
                "change": describe_changes(run, baseline) or "baseline",
                "AUC by image": cell(run.interval("auc")),
                "difference of AUC": NOTHING
                if run is baseline
                else cell(auc_difference(run, baseline), signed=True),
                "log-loss": cell(run.interval("log_loss")),
                "train AUC": _number(run.epochs("train", "auc")[-1]),
            }
            for run in (baseline, *runs)
        ],
        "The difference is measured on the images that both runs scored, with the same resamples "
        "of patients. Its interval is therefore narrower than those of the two AUCs.",
    )


def choose_cheapest(runs: Sequence[Run]) -> tuple[Run, str]:
    """Choose the run with the best AUC; among those not clearly worse, the cheapest to train.

    Returns
    -------
    tuple
        The chosen run and the reason in words.

    Raises
    ------
    ValueError
        If no run has scores.
    """
    scored = [run for run in runs if run.scores is not None]
    best = max(scored, key=lambda run: run.measured["auc"]["value"])
    equal = [best]
    for run in scored:
        difference = None if run is best else auc_difference(run, best)
        # With a single patient there is no interval, so no run is clearly worse.
        if difference is not None and not difference.high < 0.0:
            equal.append(run)
    chosen = min(equal, key=lambda run: run.processor_seconds)
    if len(scored) == 1:
        return best, f"{best.name}: it is the only run."
    if len(equal) == 1:
        return best, f"{best.name}: its AUC is clearly higher than that of every other run."
    return chosen, (
        f"{chosen.name}: its AUC is not clearly lower than the highest, that of {best.name}; of "
        f"these {len(equal)} runs its training cost least."
        if chosen is not best
        else f"{best.name}: its AUC is the highest, and of the {len(equal)} runs that are not "
        "clearly worse its training cost least."
    )


def describe_changes(run: Run, baseline: Run) -> str:
    """Describe in words how a run's configuration differs from the baseline's."""
    differing = (
        f"{key.replace('_', ' ')} {_value(value)}"
        for key, value in run.config.items()
        if key != schema.KEY and baseline.config.get(key) != value
    )
    return ", ".join(differing)


def auc_difference(run: Run, baseline: Run) -> Interval | None:
    """Return a run's AUC minus another's on the images that both scored; None without scores."""
    if run.scores is None or baseline.scores is None:
        return None
    place = {name: i for i, name in enumerate(baseline.scores.images)}
    shared = [i for i, name in enumerate(run.scores.images) if name in place]
    labels = run.scores.labels[shared]
    if np.unique(labels).size < 2:
        return None
    other = [place[run.scores.images[i]] for i in shared]
    _, patients = np.unique([run.scores.patients[i] for i in shared], return_inverse=True)
    mine = Curve(run.scores.logits[shared], labels)
    theirs = Curve(baseline.scores.logits[other], labels)

    def difference(weights: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
        return {"auc": mine.auc(weights) - theirs.auc(weights)}

    return bootstrap(difference, labels, patients.astype(np.int64))["auc"]


def cell(interval: Interval | Mapping[str, Any] | None, *, signed: bool = False) -> str:
    """Format an interval, or a dash if there is none."""
    if isinstance(interval, Mapping):
        interval = Interval.from_json(interval)
    if interval is None:
        return NOTHING
    if signed and np.isfinite(interval.low):
        return f"{interval.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
    return str(interval)


def _epochs(run: Run) -> int:
    return sum(entry["epoch"] > 0 for entry in run.history)


def _size(run: Run) -> str:
    height, width = run.config["input_size"]
    return f"{height}x{width}"


def _value(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else NOTHING


def _scaled(value: int | None, unit: float) -> str:
    return NOTHING if value is None else f"{value / unit:.2f}"
