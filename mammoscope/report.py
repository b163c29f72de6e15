"""Figures from the record of a training run.

One style for all: SVG, colours that colour-blind people can tell apart, and the same bytes for
the same record. Nothing here belongs to the serving path.

References
----------
M. Okabe, K. Ito, "Color universal design", 2008: the palette.
"""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mammoscope.errors import RunError, StorageError
from mammoscope.metrics import (
    ECE_BINS,
    RESAMPLES,
    Curve,
    Measures,
    Scored,
    bootstrap,
    draw_weights,
    equal_mass_bins,
)

FIGURES_FOLDER: Final = "figures"
HISTORY_NAME: Final = "history.json"
SCORES_NAME: Final = "validation_scores.csv"

History = Sequence[Mapping[str, Any]]
"""A dictionary for each epoch: epoch, stage, seconds {train, validation}, and train and
validation with loss, accuracy, auc (validation also breast_auc, within_machine_auc where known)."""

_BLUE: Final = "#0072B2"
_VERMILION: Final = "#D55E00"
_GREEN: Final = "#009E73"
_PURPLE: Final = "#CC79A7"
_ORANGE: Final = "#E69F00"
_GREY: Final = "#666666"
_STYLE: Final[dict[Any, Any]] = {  # matplotlib types each key by its literal name
    "svg.hashsalt": "mammoscope",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so text is the same everywhere
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.0,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
_ROC_GRID: Final = 201
_HISTOGRAM_BINS: Final = 25


def write_figures(run: Path) -> list[Path]:
    """Draw a run's record into its folder ``figures``.

    Takes history.json and, where it is there, validation_scores.csv (columns label, logit,
    probability, patient).

    Returns
    -------
    list of Path
        curves.svg and runtime.svg; with scores also reliability.svg and roc.svg.

    Raises
    ------
    RunError
        If the record is missing, damaged or empty.
    StorageError
        If a figure cannot be written.
    """
    history = _read_history(run / HISTORY_NAME)
    drawings: dict[str, Callable[[], Figure]] = {
        "curves.svg": lambda: draw_curves(history),
        "runtime.svg": lambda: draw_runtime(history),
    }
    if (run / SCORES_NAME).is_file():
        scores = _read_scores(run / SCORES_NAME)
        labels, patients = scores["label"], scores["patient"]
        drawings["reliability.svg"] = lambda: draw_reliability(
            scores["probability"], labels, patients
        )
        drawings["roc.svg"] = lambda: draw_roc(scores["logit"], labels, patients)
    written = []
    for name, draw in drawings.items():
        with mpl.rc_context(_STYLE):
            try:
                figure = draw()
            except (KeyError, TypeError, ValueError) as err:
                raise RunError("The record of the run lacks what its figures show.") from err
            written.append(_save(figure, run / FIGURES_FOLDER / name))
    return written


def draw_curves(history: History) -> Figure:
    """Loss, accuracy and AUC of each epoch, on training and validation pictures."""
    figure = _figure(9.0, 3.1)
    epochs = [entry["epoch"] for entry in history]
    panels = figure.subplots(1, 3)
    for axes, measure, title in zip(
        panels, ("loss", "accuracy", "auc"), ("Loss (log-loss)", "Accuracy", "AUC"), strict=True
    ):
        for side, colour, marker in (("train", _ORANGE, "s"), ("validation", _BLUE, "o")):
            values = [entry[side][measure] for entry in history]
            axes.plot(epochs, values, color=colour, marker=marker, label=side)
        axes.set_title(title)
        _epoch_axis(axes, history)
    for key, colour, marker, label in (
        ("breast_auc", _GREEN, "^", "validation, by breast"),
        ("within_machine_auc", _PURPLE, "v", "validation, within scanners"),
    ):
        values = [entry["validation"].get(key, np.nan) for entry in history]
        if np.isfinite(values).any():
            panels[2].plot(epochs, values, color=colour, marker=marker, ls="--", label=label)
    handles, labels = panels[2].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def draw_runtime(history: History) -> Figure:
    """Seconds that each epoch took for training and for validation."""
    figure = _figure(5.0, 3.1)
    axes = figure.subplots()
    epochs = [entry["epoch"] for entry in history]
    train = [entry["seconds"]["train"] for entry in history]
    validation = [entry["seconds"]["validation"] for entry in history]
    axes.bar(epochs, train, color=_ORANGE, label="train")
    axes.bar(epochs, validation, bottom=train, color=_BLUE, label="validation")
    total = sum(train) + sum(validation)
    axes.set_title(f"Runtime per epoch; {_duration(total)} in all")
    axes.set_ylabel("seconds")
    _epoch_axis(axes, history)
    axes.grid(visible=False, axis="x")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def draw_reliability(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    patients: Sequence[Any] | None = None,
    *,
    resamples: int = RESAMPLES,
) -> Figure:
    """Observed share of tumours against predicted probability, in bins of equal mass.

    Parameters
    ----------
    probabilities
        Calibrated probabilities (N,) in [0, 1].
    labels
        Labels (N,), 0 or 1.
    patients
        Id of each picture's patient, by whom the 95 % intervals are resampled.
    resamples
        Resamples of patients.
    """
    values = np.asarray(probabilities, np.float64)
    scored = Scored.of(labels, _log_odds(values), patients=patients)
    bins = equal_mass_bins(values)
    members = {number: bins == number for number in range(ECE_BINS) if (bins == number).any()}

    def shares(weights: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
        with np.errstate(invalid="ignore", divide="ignore"):
            found = {
                str(number): weights @ (where & (scored.labels == 1)) / (weights @ where)
                for number, where in members.items()
            }
        return found | {"ece": Measures(scored)(weights)["ece"]}

    measured = bootstrap(shares, scored.labels, scored.patients, resamples=resamples)
    ece = measured.pop("ece")
    figure = _figure(4.4, 4.8)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    upper.plot([0, 1], [0, 1], color=_GREY, ls=":", label="perfect calibration")
    upper.errorbar(
        [float(values[members[int(number)]].mean()) for number in measured],
        [interval.value for interval in measured.values()],
        yerr=[
            [interval.value - interval.low for interval in measured.values()],
            [interval.high - interval.value for interval in measured.values()],
        ],
        color=_BLUE,
        marker="o",
        capsize=2.5,
        elinewidth=1.0,
        label="tenths of the pictures, 95 % interval",
    )
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="observed share of tumours")
    upper.set_title(f"Reliability; calibration error {_text(ece.value, ece.low, ece.high)}")
    upper.legend(loc="lower right")
    edges = np.linspace(0, 1, _HISTOGRAM_BINS + 1)
    lower.hist(
        [values[scored.labels == 0], values[scored.labels == 1]],
        bins=list(edges),
        stacked=True,
        color=[_GREY, _VERMILION],
        label=["no tumour", "tumour"],
    )
    lower.set(xlabel="predicted probability of a tumour", ylabel="pictures")
    lower.legend(loc="upper right")
    return figure


def draw_roc(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    patients: Sequence[Any] | None = None,
    *,
    resamples: int = RESAMPLES,
) -> Figure:
    """Receiver operating characteristic with a pointwise 95 % band.

    Parameters
    ----------
    scores
        Scores (N,), higher for tumours.
    labels
        Labels (N,), 0 and 1, both present.
    patients
        Id of each picture's patient, by whom the band is resampled.
    resamples
        Resamples of patients.
    """
    scored = Scored.of(labels, scores, patients=patients)
    curve = Curve(scored.logits, scored.labels)
    grid = np.linspace(0.0, 1.0, _ROC_GRID)
    false_rate, true_rate = (rate[0] for rate in curve.rates(np.ones((1, scored.labels.size))))
    drawn = [
        np.interp(grid, false, true)
        for weights in draw_weights(scored.labels, scored.patients, resamples, 0)
        for false, true in zip(*curve.rates(weights), strict=True)
    ]
    area = bootstrap(
        lambda weights: {"auc": curve.auc(weights)},
        scored.labels,
        scored.patients,
        resamples=resamples,
    )["auc"]
    figure = _figure(4.4, 4.4)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=_GREY, ls=":", label="chance")
    if drawn:
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        axes.fill_between(
            grid, low, high, color=_BLUE, alpha=0.2, lw=0, label="95 % band, resampled patients"
        )
    axes.plot(false_rate, true_rate, color=_BLUE, label="validation, by picture")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="1 – specificity", ylabel="sensitivity")
    axes.set_aspect("equal")
    axes.set_title(f"ROC; AUC {_text(area.value, area.low, area.high)}")
    axes.legend(loc="lower right")
    return figure


def _figure(width: float, height: float) -> Figure:
    """Make an empty figure of the given size in inches."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def _epoch_axis(axes: Axes, history: History) -> None:
    """Number the epochs and mark where a stage begins."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(0.4, len(history) + 0.6)
    for before, after in pairwise(history):
        if before.get("stage") != after.get("stage"):
            axes.axvline(after["epoch"] - 0.5, color=_GREY, lw=0.8)
            axes.annotate(
                f" {after['stage']}",
                (after["epoch"] - 0.5, 1.0),
                xycoords=("data", "axes fraction"),
                va="top",
                fontsize=7.5,
                color=_GREY,
            )


def _save(figure: Figure, path: Path) -> Path:
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # No date and no version: the same record gives the same bytes.
        figure.savefig(partial, format="svg", metadata={"Date": None, "Creator": None})
        partial.replace(path)
    except OSError as err:
        raise StorageError("A figure could not be written: no permission or no space.") from err
    return path


def _read_history(path: Path) -> History:
    try:
        history = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise RunError("The run has no readable history.json.") from err
    if not isinstance(history, list) or not history:
        raise RunError("The run's history.json holds no epoch.")
    return history


def _read_scores(path: Path) -> dict[str, Any]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        if not rows:
            raise RunError("The run's validation_scores.csv holds no picture.")
        return {
            "label": np.array([int(row["label"]) for row in rows]),
            "logit": np.array([float(row["logit"]) for row in rows]),
            "probability": np.array([float(row["probability"]) for row in rows]),
            "patient": [row["patient"] for row in rows],
        }
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as err:
        raise RunError("The run's validation_scores.csv cannot be read.") from err


def _log_odds(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    inside = np.clip(probabilities, 1e-12, 1.0 - 1e-12)
    return np.asarray(np.log(inside) - np.log1p(-inside), np.float64)


def _text(value: float, low: float, high: float) -> str:
    return f"{value:.3f} ({low:.3f}–{high:.3f})"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
