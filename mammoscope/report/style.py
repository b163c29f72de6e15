"""One style for all figures: SVG, colours that colour-blind people can tell apart.

References
----------
M. Okabe, K. Ito, "Color universal design", 2008: the palette.
"""

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from mammoscope.errors import StorageError

BLUE: Final = "#0072B2"
VERMILION: Final = "#D55E00"
GREEN: Final = "#009E73"
PURPLE: Final = "#CC79A7"
ORANGE: Final = "#E69F00"
GREY: Final = "#666666"
STYLE: Final[dict[Any, Any]] = {  # matplotlib types each key by its literal name
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


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of the given size in inches."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as SVG, whole or not at all; raises `StorageError`."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # No date and no version: the same record gives the same bytes.
        figure.savefig(partial, format="svg", metadata={"Date": None, "Creator": None})
        partial.replace(path)
    except OSError as err:
        raise StorageError("A figure could not be written: no permission or no space.") from err
    return path


def interval_text(value: float, low: float, high: float) -> str:
    """Write a value with its interval."""
    return f"{value:.3f} ({low:.3f}–{high:.3f})"


def duration_text(seconds: float) -> str:
    """Write a duration in the unit that suits it."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
