"""One style for all figures: SVG, with a colour-blind-safe palette.

References
----------
M. Okabe, K. Ito, "Color universal design", 2008: the palette.
"""

import io
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Final, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from mammoscope.errors import RunError, StorageError
from mammoscope.system.files import replacing

Arguments = ParamSpec("Arguments")

BLUE: Final = "#0072B2"
VERMILION: Final = "#D55E00"
GREEN: Final = "#009E73"
PURPLE: Final = "#CC79A7"
ORANGE: Final = "#E69F00"
GREY: Final = "#666666"
SKY: Final = "#56B4E9"
BLACK: Final = "#000000"
SERIES: Final = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
"""Colours of runs in one figure; markers differ too."""

MARKERS: Final = "os^vDPX"
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


class Drawing(Figure):
    """A figure that notebooks show as SVG."""

    def _repr_svg_(self) -> str:
        return svg(self)


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of the given size in inches."""
    with mpl.rc_context(STYLE):
        figure = Drawing(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Draw in the project's style, whatever matplotlib's current settings are."""

    @wraps(draw)
    def drawn(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def svg(figure: Figure) -> str:
    """Render a figure as SVG; the same figure always gives the same text."""
    text = io.StringIO()
    with mpl.rc_context(STYLE):
        # Date and version would make the bytes differ between runs of the same record.
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as SVG, atomically; raises `StorageError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as target:
            target.write_text(svg(figure), encoding="utf-8")
    except OSError as err:
        raise StorageError("The figure cannot be written: no permission or no space left.") from err
    return path


def legend_below(figure: Figure, axes: Axes, columns: int | None = None) -> None:
    """Put the legend of `axes` below the whole figure, one entry per label.

    Without `columns`, all entries are in one row.
    """
    handles, labels = axes.get_legend_handles_labels()
    entries = dict(zip(labels, handles, strict=True))
    columns = columns or len(entries)
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns)


def save_figures(drawings: Mapping[str, Callable[[], Figure]], folder: Path) -> list[Path]:
    """Draw figures and write each as ``<name>.svg``.

    Raises
    ------
    RunError
        If a record lacks data for its figure.
    StorageError
        If a figure cannot be written.
    """
    written = []
    for name, draw in drawings.items():
        try:
            figure = draw()
        except (KeyError, TypeError, ValueError, IndexError) as err:
            raise RunError("A record lacks data for its figures.") from err
        written.append(save_figure(figure, folder / f"{name}.svg"))
    return written


def duration_text(seconds: float) -> str:
    """Format a duration in a suitable unit."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
