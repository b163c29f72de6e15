"""Figures that compare several runs."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mammoscope.errors import RunError
from mammoscope.evaluation.metrics.intervals import Interval
from mammoscope.evaluation.metrics.measures import Curve, equal_mass_bins
from mammoscope.reports.record import Run, Scores
from mammoscope.reports.style import (
    BLUE,
    GREY,
    MARKERS,
    ORANGE,
    SERIES,
    legend_below,
    new_figure,
    styled,
)
from mammoscope.reports.tables import (
    WATTS_PER_PROCESSOR,
    auc_difference,
    describe_changes,
)

_ROW: Final = 0.26
"""Height of one row of a forest plot in inches."""

_LONGEST_LABEL: Final = 36


@styled
def draw_epochs_of(runs: Sequence[Run]) -> Figure:
    """Draw validation loss, accuracy and AUC after each epoch, one line per run.

    Thin dashed lines show the same measures on the training images.
    """
    figure = new_figure(9.0, 3.4)
    panels = figure.subplots(1, 3)
    for axes, measure, title in zip(
        panels, ("loss", "accuracy", "auc"), ("Loss (log-loss)", "Accuracy", "AUC"), strict=True
    ):
        for (colour, marker), run in zip(_looks(runs), runs, strict=True):
            epochs = [entry["epoch"] for entry in run.history]
            axes.plot(epochs, run.epochs("train", measure), color=colour, lw=0.7, ls="--")
            axes.plot(
                epochs,
                run.epochs("validation", measure),
                color=colour,
                marker=marker,
                label=run.name,
            )
        axes.set_title(title)
        axes.set_xlabel("epoch (dashed: training images)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend_below(figure, panels[0], min(len(runs), 2))
    return figure


@styled
def draw_rocs(runs: Sequence[Run]) -> Figure:
    """Draw the ROC curve of each run's validation images.

    Raises
    ------
    RunError
        If no run has scores.
    """
    figure, axes = _unit_square("chance")
    for name, colour, _, scores in _scored(runs):
        curve = Curve(scores.logits, scores.labels)
        false_rate, true_rate = curve.rates(np.ones((1, scores.labels.size)))
        axes.plot(false_rate[0], true_rate[0], color=colour, label=name)
    axes.set(xlabel="1 – specificity", ylabel="sensitivity")
    axes.set_title("ROC on validation images")
    legend_below(figure, axes, min(len(runs), 2))
    return figure


@styled
def draw_reliabilities(runs: Sequence[Run]) -> Figure:
    """Draw the observed share of tumours against the predicted probability, one line per run.

    Each point is a tenth of the validation images, ordered by predicted probability.

    Raises
    ------
    RunError
        If no run has scores.
    """
    figure, axes = _unit_square("perfect calibration")
    for name, colour, marker, scores in _scored(runs):
        bins = equal_mass_bins(scores.probabilities)
        members = [bins == number for number in np.unique(bins)]
        axes.plot(
            [scores.probabilities[where].mean() for where in members],
            [scores.labels[where].mean() for where in members],
            color=colour,
            marker=marker,
            label=name,
        )
    axes.set(xlabel="predicted probability", ylabel="observed share")
    axes.set_title("Reliability on validation images")
    legend_below(figure, axes, min(len(runs), 2))
    return figure


@styled
def draw_areas(runs: Sequence[Run]) -> Figure:
    """Draw the AUC by image of each run with its 95 % interval by patient."""
    return _forest(
        [(run.name, run.interval("auc")) for run in runs], 0.5, "AUC by image, 95 % interval"
    )


@styled
def draw_differences(baseline: Run, runs: Sequence[Run]) -> Figure:
    """Draw each run's AUC minus the baseline's on the same validation images, 95 % intervals."""
    return _forest(
        [(_short_name(run, baseline), auc_difference(run, baseline)) for run in runs],
        0.0,
        "AUC minus the baseline's, 95 % interval",
    )


@styled
def draw_costs(runs: Sequence[Run], watts: float = WATTS_PER_PROCESSOR) -> Figure:
    """Draw processor time per epoch and the estimated energy of the whole training.

    Parameters
    ----------
    runs
        Runs with recorded processor time.
    watts
        Assumed power of one busy processor core in watts.
    """
    figure = new_figure(9.0, 0.9 + 0.4 * len(runs))
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(runs))
    epochs = np.array([max(1, sum(e["epoch"] > 0 for e in run.history)) for run in runs])
    seconds = np.array([run.processor_seconds for run in runs])
    left.barh(places, seconds / epochs, color=BLUE)
    left.set(xlabel="processor seconds per epoch", yticks=places)
    left.set_yticklabels([run.name for run in runs])
    left.invert_yaxis()
    right.barh(places, seconds / 3600 * watts, color=ORANGE)
    right.set_xlabel(f"Wh in total, at {watts:g} W per processor (estimate)")
    for axes in (left, right):
        axes.grid(visible=False, axis="y")
    return figure


def _forest(rows: Sequence[tuple[str, Interval | None]], nothing: float, label: str) -> Figure:
    """Draw values with intervals, one row each, and a line at the value of no effect."""
    figure = new_figure(6.4, 0.8 + _ROW * max(len(rows), 2))
    axes = figure.subplots()
    axes.axvline(nothing, color=GREY, lw=0.8)
    for place, (_, interval) in enumerate(rows):
        if interval is None:
            continue
        ends = [[interval.value - interval.low], [interval.high - interval.value]]
        axes.errorbar(
            [interval.value], [place], xerr=ends, color=BLUE, marker="o", capsize=2.5, lw=1.2
        )
    axes.set(yticks=range(len(rows)), xlabel=label, ylim=(len(rows) - 0.4, -0.6))
    axes.set_yticklabels([name for name, _ in rows])
    axes.grid(visible=False, axis="y")
    return figure


def _short_name(run: Run, baseline: Run) -> str:
    """Return the changed settings if they fit beside a plot, else the run's name."""
    changes = describe_changes(run, baseline)
    return changes if 0 < len(changes) <= _LONGEST_LABEL else run.name


def _unit_square(diagonal: str) -> tuple[Figure, Axes]:
    """Return a figure whose axes run from 0 to 1, with a labelled diagonal."""
    figure = new_figure(4.8, 5.0)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, ls=":", label=diagonal)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_aspect("equal")
    return figure, axes


def _scored(runs: Sequence[Run]) -> list[tuple[str, str, str, Scores]]:
    """Return name, colour, marker and scores of each run that has scores."""
    found = [
        (run.name, colour, marker, run.scores)
        for run, (colour, marker) in zip(runs, _looks(runs), strict=True)
        if run.scores is not None
    ]
    if not found:
        raise RunError("None of the runs has finished, so there are no scores to draw.")
    return found


def _looks(runs: Sequence[Run]) -> list[tuple[str, str]]:
    return [(SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)]) for i in range(len(runs))]
