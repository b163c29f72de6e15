"""Figures of a run's progress by epoch."""

from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mammoscope.reports.record import History
from mammoscope.reports.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    duration_text,
    legend_below,
    new_figure,
    styled,
)


@styled
def draw_curves(history: History) -> Figure:
    """Draw loss, accuracy and AUC of each epoch on training and validation images."""
    figure = new_figure(9.0, 3.1)
    epochs = [entry["epoch"] for entry in history]
    panels = figure.subplots(1, 3)
    for axes, measure, title in zip(
        panels, ("loss", "accuracy", "auc"), ("Loss (log-loss)", "Accuracy", "AUC"), strict=True
    ):
        for side, colour, marker in (("train", ORANGE, "s"), ("validation", BLUE, "o")):
            values = [entry[side].get(measure, np.nan) for entry in history]
            if np.isfinite(values).any():  # a run on all folds is not validated by epoch
                axes.plot(epochs, values, color=colour, marker=marker, label=side)
        axes.set_title(title)
        _epoch_axis(axes, history)
    for key, colour, marker, label in (
        ("breast_auc", GREEN, "^", "validation, by breast"),
        ("within_machine_auc", PURPLE, "v", "validation, within scanners"),
    ):
        values = [entry["validation"].get(key, np.nan) for entry in history]
        if np.isfinite(values).any():
            panels[2].plot(epochs, values, color=colour, marker=marker, ls="--", label=label)
    legend_below(figure, panels[2])
    return figure


@styled
def draw_runtime(history: History) -> Figure:
    """Draw the seconds spent on training and validation in each epoch."""
    figure = new_figure(5.0, 3.1)
    axes = figure.subplots()
    epochs = [entry["epoch"] for entry in history]
    train = [entry["seconds"]["train"] for entry in history]
    validation = [entry["seconds"]["validation"] for entry in history]
    axes.bar(epochs, train, color=ORANGE, label="train")
    axes.bar(epochs, validation, bottom=train, color=BLUE, label="validation")
    total = sum(train) + sum(validation)
    axes.set_title(f"Runtime per epoch; {duration_text(total)} in total")
    axes.set_ylabel("seconds")
    _epoch_axis(axes, history)
    axes.grid(visible=False, axis="x")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _epoch_axis(axes: Axes, history: History) -> None:
    """Number the epochs and mark the start of each stage."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(history[0]["epoch"] - 0.6, history[-1]["epoch"] + 0.6)
    for before, after in pairwise(history):
        if before.get("stage") != after.get("stage"):
            axes.axvline(after["epoch"] - 0.5, color=GREY, lw=0.8)
            axes.annotate(
                f" {after['stage']}",
                (after["epoch"] - 0.5, 1.0),
                xycoords=("data", "axes fraction"),
                va="top",
                fontsize=7.5,
                color=GREY,
            )
