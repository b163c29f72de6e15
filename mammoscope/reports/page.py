"""A self-contained HTML page that compares runs."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from mammoscope.errors import RunError, StorageError
from mammoscope.reports import comparison, tables
from mammoscope.reports.epochs import draw_curves
from mammoscope.reports.performance import draw_reliability, draw_roc
from mammoscope.reports.record import Run
from mammoscope.reports.style import svg
from mammoscope.system.files import replacing

_PROLOGUE: Final = re.compile(r"^.*?(?=<svg)", re.DOTALL)
"""Declarations that an SVG file begins with and that must not appear in HTML."""


def write_page(runs: Sequence[Run], path: Path) -> None:
    """Write tables and figures of runs to a page; the first finished run is the baseline.

    Raises
    ------
    RunError
        If there are no runs, or a record lacks data for its figures.
    StorageError
        If the page cannot be written.
    """
    if not runs:
        raise RunError("There are no runs to report on.")
    try:
        page = _render(runs)
    except (KeyError, TypeError, ValueError, IndexError) as err:
        raise RunError("The record of a run lacks data for its figures.") from err
    try:
        with replacing(path) as target:
            target.write_text(page, encoding="utf-8")
    except OSError as err:
        raise StorageError("The report cannot be written.") from err


def _render(runs: Sequence[Run]) -> str:
    finished = [run for run in runs if run.scores is not None]
    figures = {"Epochs": comparison.draw_epochs_of(runs)}
    tabulated = {"Epochs": tables.tabulate_epochs(runs), "Work": tables.tabulate_costs(runs)}
    if finished:
        baseline, *others = finished
        tabulated["Performance"] = tables.tabulate_performance(finished)
        figures |= {
            "AUC": comparison.draw_areas(finished),
            "ROC": comparison.draw_rocs(finished),
            "Reliability": comparison.draw_reliabilities(finished),
        }
        if others:
            tabulated[f"Against {baseline.name}"] = tables.tabulate_changes(baseline, others)
            figures[f"Difference from {baseline.name}"] = comparison.draw_differences(
                baseline, others
            )
    if any(run.processor_seconds > 0 for run in runs):
        figures["Work"] = comparison.draw_costs([run for run in runs if run.processor_seconds > 0])
    environment = Environment(
        loader=PackageLoader("mammoscope.reports"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("report.html.j2").render(
        runs=[(run, _figures_of(run)) for run in runs],
        tables={title: Markup(table._repr_html_()) for title, table in tabulated.items()},  # noqa: S704 its cells are escaped
        figures={title: _inline(figure) for title, figure in figures.items()},
    )


def _figures_of(run: Run) -> dict[str, Markup]:
    drawn = {"curves": draw_curves(run.history)}
    if run.scores is not None:
        drawn["ROC"] = draw_roc(run.scores)
        drawn["reliability"] = draw_reliability(run.scores)
    return {name: _inline(figure) for name, figure in drawn.items()}


def _inline(figure: Figure) -> Markup:
    return Markup(_PROLOGUE.sub("", svg(figure)))  # noqa: S704 made here, of numbers and escaped names
