"""Positions of the cells of a logit map in the image, and the cells that a box fills.

InceptionV3 begins with convolutions without padding, so its last grid does not divide the image
evenly: the centre of cell i lies at pixel 32 i + 37, whatever the image's size. (Output i of a
layer with stride s and a kernel of 3 is centred on input s i + 1; composed over the stem,
``mixed3`` and ``mixed8``. All other layers keep the position.)
"""

from typing import Final

import numpy as np

from mammoscope.imaging.arrays import Boxes, Float

STRIDE_PX: Final = 32
FIRST_CENTRE_PX: Final = 37.5
"""Centre of pixel 37."""

UNKNOWN: Final = -1.0
"""Target of a cell that overlaps a box without filling it."""

_FILLED: Final = 0.5
"""Minimum overlap, as a share of the cell or of a box smaller than the cell."""


def cell_edges(pixels: int, cells: int) -> Float:
    """Return the edges (cells + 1,) of the cells along a side, as fractions of its length.

    Cells are 32 pixels wide; the first and the last extend to the ends of the image.
    """
    inner = FIRST_CENTRE_PX + STRIDE_PX * (np.arange(1, cells) - 0.5)
    return (np.concatenate([[0.0], inner, [pixels]]) / pixels).astype(np.float32)


def cell_targets(boxes: Boxes, size: tuple[int, int], grid: tuple[int, int]) -> Float:
    """Return the targets of all cells: 1 in a box, `UNKNOWN` at its edge, else 0.

    A cell is 1 if half of it is in the box, or it contains half of the box or its centre.

    Parameters
    ----------
    boxes
        Boxes as fractions of the image.
    size
        Height and width of the image in pixels.
    grid
        Rows and columns of the map.

    Returns
    -------
    ndarray
        float32 (rows, columns, 2): malignant and benign.
    """
    targets = np.zeros((*grid, 2), dtype=np.float32)
    rows, columns = (cell_edges(*side) for side in zip(size, grid, strict=True))
    cell = STRIDE_PX**2 / (size[0] * size[1])
    for kind, x0, y0, x1, y1 in boxes:
        target = targets[..., int(kind)]
        common = np.outer(_common(rows, y0, y1), _common(columns, x0, x1))
        target[(common > 0) & (target == 0)] = UNKNOWN
        target[common >= _FILLED * min(cell, (x1 - x0) * (y1 - y0))] = 1.0
        row, column = np.searchsorted(rows, (y0 + y1) / 2), np.searchsorted(columns, (x0 + x1) / 2)
        target[row - 1, column - 1] = 1.0
    return targets


def _common(edges: Float, low: float, high: float) -> Float:
    """Return the length (n,) of the overlap of each of n cells with an interval."""
    common: Float = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    return common.clip(0.0)
