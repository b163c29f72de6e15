"""Figures from the records of training runs.

One style for all: SVG, colours that colour-blind people can tell apart, and the same bytes for
the same record. Nothing here belongs to the serving path.
"""

from mammoscope.report.epochs import draw_curves, draw_runtime
from mammoscope.report.performance import draw_reliability, draw_roc
from mammoscope.report.run import write_figures

__all__ = ["draw_curves", "draw_reliability", "draw_roc", "draw_runtime", "write_figures"]
