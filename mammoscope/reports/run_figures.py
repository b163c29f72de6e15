"""The figures in a training run's own folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from mammoscope.reports.epochs import draw_curves, draw_runtime
from mammoscope.reports.performance import draw_reliability, draw_roc
from mammoscope.reports.record import HISTORY_NAME, SCORES_NAME, read_history, read_scores
from mammoscope.reports.style import save_figures

FIGURES_FOLDER: Final = "figures"


def write_figures(run: Path) -> list[Path]:
    """Draw a run's record into its folder ``figures``.

    Reads history.json and, if it exists, validation_scores.csv (columns label, logit,
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
    history = read_history(run / HISTORY_NAME)
    drawings: dict[str, Callable[[], Figure]] = {
        "curves": lambda: draw_curves(history),
        "runtime": lambda: draw_runtime(history),
    }
    if (run / SCORES_NAME).is_file():
        scores = read_scores(run / SCORES_NAME)
        drawings["reliability"] = lambda: draw_reliability(scores)
        drawings["roc"] = lambda: draw_roc(scores)
    return save_figures(drawings, run / FIGURES_FOLDER)
