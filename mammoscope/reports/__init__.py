"""Figures and tables from the records of training runs, and of what a data set holds.

One style for all: SVG, colours that colour-blind people can tell apart, and the same bytes for
the same record. Nothing here belongs to the serving path.
"""

from mammoscope.reports.comparison import (
    draw_areas,
    draw_costs,
    draw_differences,
    draw_epochs_of,
    draw_reliabilities,
    draw_rocs,
)
from mammoscope.reports.data import (
    draw_classes,
    draw_counts,
    draw_gallery,
    draw_inverted,
    draw_leakage,
    draw_looks,
    draw_shortcuts,
    draw_sizes,
)
from mammoscope.reports.decisions import (
    choose_examples,
    draw_confusion_matrices,
    draw_decision_curve,
    draw_heat_maps,
    draw_operating_points,
    draw_robustness,
    draw_scores,
)
from mammoscope.reports.epochs import draw_curves, draw_runtime
from mammoscope.reports.images import BACKBONES, BASELINE, TUNING, find_released, write_images
from mammoscope.reports.page import write_page
from mammoscope.reports.performance import draw_reliability, draw_roc
from mammoscope.reports.record import Run, Scores, read_run, read_runs
from mammoscope.reports.run import write_figures
from mammoscope.reports.style import save_figure, svg
from mammoscope.reports.tables import (
    Table,
    auc_difference,
    cell,
    choose_cheapest,
    describe_changes,
    tabulate_changes,
    tabulate_costs,
    tabulate_epochs,
    tabulate_performance,
)

__all__ = [
    "BACKBONES",
    "BASELINE",
    "TUNING",
    "Run",
    "Scores",
    "Table",
    "auc_difference",
    "cell",
    "choose_cheapest",
    "choose_examples",
    "describe_changes",
    "draw_areas",
    "draw_classes",
    "draw_confusion_matrices",
    "draw_costs",
    "draw_counts",
    "draw_curves",
    "draw_decision_curve",
    "draw_differences",
    "draw_epochs_of",
    "draw_gallery",
    "draw_heat_maps",
    "draw_inverted",
    "draw_leakage",
    "draw_looks",
    "draw_operating_points",
    "draw_reliabilities",
    "draw_reliability",
    "draw_robustness",
    "draw_roc",
    "draw_rocs",
    "draw_runtime",
    "draw_scores",
    "draw_shortcuts",
    "draw_sizes",
    "find_released",
    "read_run",
    "read_runs",
    "save_figure",
    "svg",
    "tabulate_changes",
    "tabulate_costs",
    "tabulate_epochs",
    "tabulate_performance",
    "write_figures",
    "write_images",
    "write_page",
]
