"""Figures of decisions made from a model's scores, and of the scores' robustness."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mammoscope.evaluation.metrics.curves import decision_curve
from mammoscope.evaluation.metrics.intervals import RESAMPLES
from mammoscope.reports.record import Scores
from mammoscope.reports.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    legend_below,
    new_figure,
    styled,
)

_CELL_COLOURS: Final = "cividis"
"""Even in lightness and readable with a colour vision deficiency."""

_HEAT_ROWS: Final = 18
"""Rows of a drawn heat map: coarse enough to show a location, but no anatomy."""


@styled
def draw_decision_curve(scores: Scores, *, resamples: int = RESAMPLES) -> Figure:
    """Draw net benefit over the threshold probability, with a pointwise 95 % band by patient.

    Parameters
    ----------
    scores
        Scores of held-out images.
    resamples
        Number of bootstrap resamples of patients.
    """
    curve = decision_curve(scores.scored(), resamples=resamples)
    figure = new_figure(5.4, 3.8)
    axes = figure.subplots()
    axes.fill_between(
        curve.thresholds,
        curve.band.low,
        curve.band.high,
        color=BLUE,
        alpha=0.2,
        lw=0,
        label="95 % band",
    )
    axes.plot(curve.thresholds, curve.net_benefit, color=BLUE, label="acting on the score")
    everybody = curve.of_acting_on_all
    axes.plot(curve.thresholds, everybody, color=VERMILION, ls="--", label="acting on everybody")
    axes.axhline(0.0, color=GREY, ls=":", label="acting on nobody")
    axes.set(
        ylim=(-0.1, 1.1 * max(everybody.max(), 0.05)),
        xlabel="threshold probability",
        ylabel="net benefit per image",
        title="Decision curve on held-out patients",
    )
    axes.legend()
    return figure


@styled
def draw_confusion_matrices(scores: Scores, thresholds: Mapping[str, float]) -> Figure:
    """Draw a confusion matrix for each operating point.

    Parameters
    ----------
    scores
        Scores of held-out images.
    thresholds
        Threshold probability by name of the operating point.
    """
    figure = new_figure(3.0 * len(thresholds), 3.0)
    panels = np.atleast_1d(figure.subplots(1, len(thresholds)))
    for axes, (name, threshold) in zip(panels, thresholds.items(), strict=True):
        answers = (scores.probabilities >= threshold).astype(int)
        counts = np.zeros((2, 2), int)
        np.add.at(counts, (scores.labels, answers), 1)
        _matrix(axes, counts)
        axes.set_title(f"{name.replace('_', ' ')}, from {threshold:.3f}")
    panels[0].set_ylabel("label")
    return figure


def _matrix(axes: Axes, counts: npt.NDArray[np.int64]) -> None:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.pcolormesh(shares, cmap=_CELL_COLOURS, vmin=0.0, vmax=1.0)
    for (row, column), count in np.ndenumerate(counts):
        axes.text(
            column + 0.5,
            row + 0.5,
            f"{count}\n{shares[row, column]:.0%}",
            ha="center",
            va="center",
            color="black" if shares[row, column] > 0.5 else "white",
        )
    names = ["no tumour", "tumour"]
    axes.set(xticks=[0.5, 1.5], yticks=[0.5, 1.5], xlabel="answer", aspect="equal")
    axes.set_xticklabels(names)
    axes.set_yticklabels(names, rotation=90, va="center")
    axes.invert_yaxis()
    axes.grid(visible=False)


@styled
def draw_operating_points(parts: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw sensitivity and specificity of the operating points, with intervals.

    Parameters
    ----------
    parts
        Results by the kind of patients, such as test, in the form of the card: for each operating
        point, ``sensitivity`` and ``specificity``.
    """
    names = list(dict.fromkeys(name for part in parts.values() for name in part))
    figure = new_figure(7.2, 0.9 + 0.45 * len(names))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, rate in zip(panels, ("sensitivity", "specificity"), strict=True):
        for offset, (part, points) in enumerate(parts.items()):
            for place, name in enumerate(names):
                found = points.get(name, {}).get(rate)
                if found is None or found["low"] is None:
                    continue
                axes.errorbar(
                    [found["value"]],
                    [place + 0.22 * (offset - (len(parts) - 1) / 2)],
                    xerr=[[found["value"] - found["low"]], [found["high"] - found["value"]]],
                    color=(BLUE, ORANGE, GREEN)[offset % 3],
                    marker="os^"[offset % 3],
                    capsize=2.5,
                    label=part,
                )
        axes.set(xlim=(0, 1), xlabel=rate, yticks=range(len(names)))
        axes.grid(visible=False, axis="y")
    panels[0].set_yticklabels([name.replace("_", " ") for name in names])
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    legend_below(figure, panels[0], 3)
    return figure


@styled
def draw_robustness(measured: Mapping[str, Any]) -> Figure:
    """Draw how far probabilities move under changes that do not concern the patient.

    Parameters
    ----------
    measured
        Output of ``mammoscope dev robustness --json``.
    """
    changes = measured["probability_change"]
    figure = new_figure(6.4, 1.2 + 0.28 * len(changes))
    axes = figure.subplots()
    for place, spread in enumerate(changes.values()):
        axes.plot([spread["median"], spread["percentile_95"]], [place, place], color=BLUE, lw=1.2)
        for key, marker, colour in (("median", "o", BLUE), ("percentile_95", "|", ORANGE)):
            label = key.replace("_", " ") if place == 0 else None
            axes.plot([spread[key]], [place], marker, color=colour, label=label, markersize=7)
    axes.set(
        yticks=range(len(changes)),
        xlabel="absolute change of the probability",
        title=f"{measured['pictures']} images, changed and scored again",
        ylim=(len(changes) - 0.4, -0.6),
    )
    axes.set_yticklabels(list(changes))
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def draw_scores(scores: Scores, marked: Sequence[int] = ()) -> Figure:
    """Draw the probabilities of all images by label and mark some with letters.

    Parameters
    ----------
    scores
        Scores of held-out images.
    marked
        Indices of the images to mark with a, b, c ...
    """
    figure = new_figure(7.2, 2.6)
    axes = figure.subplots()
    heights = scores.labels + np.random.default_rng(0).uniform(-0.3, 0.3, scores.labels.size)
    for label, colour in ((0, GREY), (1, VERMILION)):
        where = scores.labels == label
        axes.plot(scores.probabilities[where], heights[where], ".", color=colour, ms=2, alpha=0.6)
    for letter, place in zip("abcdefghijklmnop", marked, strict=False):
        at = (scores.probabilities[place], heights[place])
        axes.plot(*at, "o", mfc="none", color=BLUE, ms=9)
        axes.annotate(letter, at, xytext=(7, 4), textcoords="offset points", color=BLUE)
    axes.set(xlabel="predicted probability of a tumour", yticks=[0, 1], xlim=(0, 1))
    axes.set_yticklabels(["no tumour", "tumour"])
    return figure


def choose_examples(scores: Scores, each: int = 2) -> dict[str, list[int]]:
    """Return indices of the most confident right and wrong predictions, one per patient."""
    order = np.argsort(scores.probabilities, kind="stable")
    kinds = {
        "right, tumour": (1, order[::-1]),
        "right, no tumour": (0, order),
        "wrong, tumour missed": (1, order),
        "wrong, false alarm": (0, order[::-1]),
    }
    chosen: dict[str, list[int]] = {}
    for kind, (label, places) in kinds.items():
        first: dict[str, int] = {}
        for place in places[scores.labels[places] == label]:
            first.setdefault(scores.patients[place], int(place))
        chosen[kind] = list(first.values())[:each]
    return chosen


@styled
def draw_heat_maps(maps: Mapping[str, npt.NDArray[np.float32]]) -> Figure:
    """Draw heat maps as coarse cells, without their images.

    Parameters
    ----------
    maps
        Logit maps by title: float32 (h, w) of a preprocessed image, chest wall on the left.
    """
    columns = min(4, len(maps))
    rows = -(-len(maps) // columns)
    figure = new_figure(1.9 * columns, 2.9 * rows)
    panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes, (title, cells) in zip(panels, maps.items(), strict=False):
        height, width = cells.shape
        rows_drawn = min(height, _HEAT_ROWS)
        size = (max(1, round(width * rows_drawn / height)), rows_drawn)
        axes.pcolormesh(cv2.resize(cells, size, interpolation=cv2.INTER_AREA), cmap=_CELL_COLOURS)
        axes.set_title(title, fontsize=8)
        axes.set_aspect("equal")
        axes.invert_yaxis()
    for axes in panels:
        axes.set_axis_off()
    return figure
