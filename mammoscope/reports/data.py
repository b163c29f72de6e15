"""Figures of a data set, drawn from the result of `mammoscope.evaluation.exploration.explore`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mammoscope.reports.style import (
    BLUE,
    GREY,
    MARKERS,
    ORANGE,
    SERIES,
    VERMILION,
    legend_below,
    new_figure,
    styled,
)

_LABELS: Final = (("no_tumour", "no tumour", GREY), ("tumour", "tumour", VERMILION))

_MOST_POINTS: Final = 900
"""Maximum number of points in a scatter plot; more cannot be told apart."""


@styled
def draw_counts(found: Mapping[str, Any]) -> Figure:
    """Draw images by split and label, as published and with ``valid`` merged into ``train``."""
    figure = new_figure(7.6, 3.2)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, key, title in zip(
        panels,
        ("splits", "merged"),
        ("As published", "Valid merged into train"),
        strict=True,
    ):
        _stacked(axes, found[key])
        axes.set_title(title)
    panels[0].set_ylabel("images")
    legend_below(figure, panels[0], 2)
    return figure


@styled
def draw_classes(found: Mapping[str, Any]) -> Figure:
    """Draw images by label, in total and grouped by each metadata field."""
    groups = {name: table for name, table in found["groups"].items() if table}
    figure = new_figure(2.2 * (1 + len(groups)), 3.0)
    panels = np.atleast_1d(figure.subplots(1, 1 + len(groups)))
    whole = {kind: sum(split[kind] for split in found["splits"].values()) for kind, _, _ in _LABELS}
    _stacked(panels[0], {"all": whole})
    panels[0].set_ylabel("images")
    for axes, (name, table) in zip(panels[1:], groups.items(), strict=True):
        _stacked(axes, table)
        axes.set_title(name)
        axes.tick_params(axis="x", labelrotation=60 if max(map(len, table)) > 2 else 0)
    legend_below(figure, panels[0], 2)
    return figure


@styled
def draw_sizes(sizes: Mapping[str, int]) -> Figure:
    """Draw the distribution of image sizes.

    Parameters
    ----------
    sizes
        Number of images by ``<width>x<height>`` in pixels.
    """
    figure = new_figure(4.6, 3.2)
    axes = figure.subplots()
    for size, count in sizes.items():
        width, height = map(int, size.split("x"))
        axes.scatter([width], [height], s=20 + 180 * count / sum(sizes.values()), color=BLUE)
        axes.annotate(
            f"{size}: {count}", (width, height), xytext=(10, 8), textcoords="offset points"
        )
    axes.set(xlabel="width in pixels", ylabel="height in pixels", title="Sizes of the files")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(0.4)
    return figure


@styled
def draw_inverted(inverted: Mapping[str, Any]) -> Figure:
    """Draw the number of images with a bright background by machine."""
    machines = inverted["by_machine"]
    figure = new_figure(5.4, 3.0)
    axes = figure.subplots()
    names = sorted(machines, key=lambda name: -machines[name]["pictures"])
    bright = np.array([machines[name]["inverted"] for name in names], dtype=float)
    whole = np.array([machines[name]["pictures"] for name in names], dtype=float)
    axes.bar(names, whole - bright, color=GREY, label="dark background")
    axes.bar(names, bright, bottom=whole - bright, color=ORANGE, label="bright background")
    axes.set(xlabel="machine", ylabel="images", title=f"{inverted['pictures']} inverted images")
    axes.grid(visible=False, axis="x")
    axes.legend()
    return figure


@styled
def draw_leakage(leakage: Mapping[str, Any]) -> Figure:
    """Draw the patients shared by both parts of a split, and the AUC under each kind of split."""
    figure = new_figure(7.2, 2.8)
    left, right = figure.subplots(1, 2)
    kinds = (("by_patient", "by patient"), ("by_image", "by image"))
    for place, (key, _) in enumerate(kinds):
        part = leakage[key]
        left.bar([place], [part["judged_patients"]], color=GREY, label=_once(place, "test"))
        left.bar(
            [place],
            [part["shared_patients"]],
            color=VERMILION,
            width=0.5,
            label=_once(place, "test, also training"),
        )
        auc = part["auc"]
        right.errorbar(
            [place],
            [auc["value"]],
            yerr=[[auc["value"] - auc["low"]], [auc["high"] - auc["value"]]],
            color=BLUE,
            marker="o",
            capsize=3,
        )
    for axes in (left, right):
        axes.set(xticks=[0, 1], xlim=(-0.6, 1.6))
        axes.set_xticklabels([name for _, name in kinds])
        axes.grid(visible=False, axis="x")
    left.set_title("Patients per fold")
    left.legend(loc="upper left", bbox_to_anchor=(0.0, -0.12), ncols=2)
    right.axhline(0.5, color=GREY, ls=":")
    right.set_title("AUC of one small model, 95 % interval")
    return figure


@styled
def draw_shortcuts(shortcuts: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw the AUC of baselines that ignore the tissue."""
    figure = new_figure(5.8, 0.9 + 0.32 * len(shortcuts))
    axes = figure.subplots()
    axes.axvline(0.5, color=GREY, ls=":")
    for place, auc in enumerate(shortcuts.values()):
        ends = [[auc["value"] - auc["low"]], [auc["high"] - auc["value"]]]
        axes.errorbar([auc["value"]], [place], xerr=ends, color=BLUE, marker="o", capsize=3)
    axes.set(yticks=range(len(shortcuts)), xlabel="AUC by image, 95 % interval")
    axes.set_yticklabels(list(shortcuts))
    axes.set_ylim(len(shortcuts) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    return figure


@styled
def draw_looks(looks: Mapping[str, Sequence[Any]]) -> Figure:
    """Draw images in the plane of their largest scanner differences, coloured by group."""
    titles = {"machine": "by machine", "cluster": "by cluster", "label": "by label"}
    shown = np.unique(np.linspace(0, len(looks["x"]) - 1, _MOST_POINTS).astype(int))
    plane = np.array([looks["x"], looks["y"]])[:, shown]
    figure = new_figure(3.4 * len(titles), 3.4)
    panels = figure.subplots(1, len(titles))
    for axes, (key, title) in zip(panels, titles.items(), strict=True):
        values = np.array(["unknown" if name is None else str(name) for name in looks[key]])[shown]
        common, counts = np.unique(values, return_counts=True)
        for i, name in enumerate(common[np.argsort(-counts, kind="stable")][: len(SERIES)]):
            where = values == name
            axes.plot(
                *plane[:, where], MARKERS[i], ms=2.2, color=SERIES[i], alpha=0.6, label=str(name)
            )
        axes.set_title(title)
        axes.set(xticks=[], yticks=[])
        axes.legend(fontsize=7, markerscale=2, loc="best")
    return figure


@styled
def draw_gallery(images: Mapping[str, npt.NDArray[Any]], columns: int = 5) -> Figure:
    """Draw grey images side by side.

    Parameters
    ----------
    images
        Images by title: float in [0, 1] or uint8, (H, W).
    columns
        Maximum number of images in a row.
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(1.5 * columns, 2.1 * rows)
    panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes, (title, pixels) in zip(panels, images.items(), strict=False):
        highest = 255 if pixels.dtype == np.uint8 else 1
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=highest)
        axes.set_title(title, fontsize=7.5)
    for axes in panels:
        axes.set_axis_off()
    return figure


def _stacked(axes: Axes, table: Mapping[str, Mapping[str, int]]) -> None:
    names = list(table)
    below = np.zeros(len(names))
    for key, label, colour in _LABELS:
        heights = np.array([table[name][key] for name in names], dtype=float)
        bars = axes.bar(names, heights, bottom=below, color=colour, label=label)
        if len(names) <= 4:
            axes.bar_label(bars, label_type="center", fontsize=7.5, color="white")
        below += heights
    axes.grid(visible=False, axis="x")


def _once(place: int, label: str) -> str | None:
    return label if place == 0 else None
