"""Tables of runs, as HTML and Markdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mammoscope.evaluation.metrics import Curve, Interval, bootstrap
from mammoscope.reports.record import Run
from mammoscope.reports.style import interval_text
from mammoscope.system import schema

NOTHING: Final = "–"
WATTS_PER_PROCESSOR: Final = 10.0
"""Estimated draw of one busy processor core with its share of memory and power supply, in watts.

Servers of recent years draw 5 to 15 W a core under load; the machine's own draw was not measured.
"""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows below a header, all as text; notebooks show it as HTML."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

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
    """What the finished networks score on validation images, with intervals by patient."""
    rows = [
        (
            run.name,
            _size(run),
            *(
                cell(run.interval(*path))
                for path in (
                    ("auc",),
                    ("breast", "auc"),
                    ("within_machine",),
                    ("accuracy",),
                    ("log_loss",),
                    ("ece",),
                )
            ),
        )
        for run in runs
    ]
    return Table(
        (
            "run",
            "input",
            "AUC by image",
            "AUC by breast",
            "within scanners",
            "accuracy",
            "log-loss",
            "calibration error",
        ),
        tuple(rows),
        "Validation images of patients whom the run did not learn from; in brackets 95 % "
        "intervals from resamples of patients.",
    )


def tabulate_epochs(runs: Sequence[Run]) -> Table:
    """Mean over the epochs, and last value, of accuracy and loss."""
    sides = (("train", "train"), ("validation", "validation"))
    measures = ("accuracy", "loss")
    header = [f"{kind} {name} {m}" for m in measures for _, name in sides for kind in _KINDS]
    rows = [
        (
            run.name,
            str(sum(entry["epoch"] > 0 for entry in run.history)),
            *(
                _number(pick(run.epochs(side, measure)))
                for measure in measures
                for side, _ in sides
                for pick in _KINDS.values()
            ),
        )
        for run in runs
    ]
    return Table(("run", "epochs", *header), tuple(rows))


_KINDS: Final[Mapping[str, Callable[[npt.NDArray[np.float64]], float]]] = {
    "mean": lambda values: float(np.nanmean(values)),
    "final": lambda values: float(values[-1]),
}


def tabulate_costs(runs: Sequence[Run], watts: float = WATTS_PER_PROCESSOR) -> Table:
    """Size of the networks, operations an image, and the work of training.

    Parameters
    ----------
    runs
        Finished runs.
    watts
        What one busy processor is taken to draw.
    """
    rows = []
    for run in runs:
        epochs = sum(entry["epoch"] > 0 for entry in run.history)
        hours = run.processor_seconds / 3600
        rows.append(
            (
                run.name,
                _size(run),
                _scaled(run.network.get("parameters"), 1e6),
                _scaled(run.network.get("multiply_adds"), 1e9),
                _number(run.processor_seconds / max(epochs, 1), 0),
                _number(hours, 2),
                _number(hours * watts, 1),
                cell(run.interval("auc")),
            )
        )
    return Table(
        (
            "run",
            "input",
            "parameters / 10⁶",
            "multiply-adds an image / 10⁹",
            "processor seconds an epoch",
            "processor hours",
            "Wh, estimated",
            "AUC by image",
        ),
        tuple(rows),
        f"Energy is processor time times {watts:g} W a processor, an estimate: nothing was "
        "measured at the socket.",
    )


def tabulate_changes(baseline: Run, runs: Sequence[Run]) -> Table:
    """Each run against the baseline: what was changed, and what it did to AUC and log-loss."""
    rows = [
        (
            describe_changes(run, baseline) or "baseline",
            cell(run.interval("auc")),
            NOTHING if run is baseline else cell(auc_difference(run, baseline), signed=True),
            cell(run.interval("log_loss")),
            _number(run.epochs("train", "auc")[-1]),
        )
        for run in (baseline, *runs)
    ]
    return Table(
        ("change", "AUC by image", "difference of AUC", "log-loss", "train AUC"),
        tuple(rows),
        "The difference is taken on the images that both runs scored and on the same resamples "
        "of their patients, so that its interval is narrower than those of the two AUCs.",
    )


def choose_cheapest(runs: Sequence[Run]) -> tuple[Run, str]:
    """Choose by AUC where it tells runs apart, else by the work of training.

    Returns
    -------
    tuple
        The cheapest of the runs whose AUC the data do not tell from the highest, and the reason
        in words.

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
        # With one patient only there is no interval, and nothing is told apart.
        if difference is not None and not difference.high < 0.0:
            equal.append(run)
    chosen = min(equal, key=lambda run: run.processor_seconds)
    if len(scored) == 1:
        return best, f"{best.name}: there is no other."
    if len(equal) == 1:
        return best, f"{best.name}: its AUC is above that of every other, beyond the interval."
    return chosen, (
        f"{chosen.name}: AUC does not tell it from {best.name}, the highest; of the "
        f"{len(equal)} that are so alike its training took the least work."
        if chosen is not best
        else f"{best.name}: the highest AUC, and of the {len(equal)} that it is not told from the "
        "least work in training."
    )


def describe_changes(run: Run, baseline: Run) -> str:
    """What of a run's configuration differs from another's, in words."""
    differing = (
        f"{key.replace('_', ' ')} {_value(value)}"
        for key, value in run.config.items()
        if key != schema.KEY and baseline.config.get(key) != value
    )
    return ", ".join(differing)


def auc_difference(run: Run, baseline: Run) -> Interval | None:
    """AUC of a run less that of another on the images that both scored; None without any."""
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
    """Write an interval, or a dash where there is none."""
    if isinstance(interval, Mapping):
        numbers = [np.nan if interval[end] is None else interval[end] for end in _ENDS]
        interval = Interval(*map(float, numbers))
    if interval is None or not np.isfinite(interval.value):
        return NOTHING
    if not np.isfinite(interval.low):
        return _number(interval.value)
    if signed:
        return f"{interval.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
    return interval_text(interval.value, interval.low, interval.high)


_ENDS: Final = ("value", "low", "high")


def _size(run: Run) -> str:
    height, width = run.config["input_size"]
    return f"{height}x{width}"


def _value(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else NOTHING


def _scaled(value: int | None, unit: float) -> str:
    return NOTHING if value is None else f"{value / unit:.2f}"
