"""Draw the network's logit map over the source image.

The logit map covers the preprocessed image, which is cropped, stretched and sometimes mirrored.
This module reverses these steps, so that every cell covers its tissue in the source image.
"""

import functools
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mammoscope.imaging.arrays import Colours, Float, FloatArray, Mask, Pixels
from mammoscope.imaging.preprocessing import Preprocessed

OPACITY: Final = 0.45
"""Opacity of the colour over the image, in (0, 1)."""

COLOURS: Final = cv2.COLORMAP_VIRIDIS
"""From dark blue (least) over green to yellow (most): even steps in lightness, readable with every
colour vision deficiency, and distinct from the grey of the image.

References
----------
Nuñez JR, Anderton CR, Renslow RS. Optimizing colormaps with consideration for color vision
deficiency to enable accurate interpretation of scientific data. PLoS ONE 2018;13:e0199239.
"""

_EVEN: Final = 1e-5
"""Relative range of heat below which differences are rounding errors."""

_LAYER_SIDE: Final = 384
"""Heat is smooth: a few cells of the logit map, interpolated."""

_BAND_ROWS: Final = 512
"""Rows drawn at a time, to limit memory for the largest images."""

_ALL: Final = (slice(None), slice(None))


def cell_centres(cells: int, length: int) -> FloatArray:
    """Centre of each cell's receptive field along one axis of the preprocessed image, in pixels.

    Networks halve their feature maps repeatedly, so neighbouring cells are a power of two apart.
    Convolutions without padding shorten the map at both ends. The cells therefore lie at that step,
    centred on the axis, and do not span all of it.

    Parameters
    ----------
    cells
        Number of cells of the logit map along the axis.
    length
        Number of pixels of the preprocessed image along the axis.
    """
    step = 2.0 ** round(np.log2(length / cells))
    if step * (cells - 1) > length - 1:
        step = length / cells
    first = (length - 1 - step * (cells - 1)) / 2.0
    return np.asarray(first + step * np.arange(cells), dtype=np.float64)


def heat_map(
    logit_map: Float, preprocessed: Preprocessed, every: tuple[slice, slice] = _ALL
) -> tuple[Float, Mask]:
    """Map a logit map to the geometry of the source image's crop.

    Parameters
    ----------
    logit_map
        float32 (h, w), of a `Prediction`.
    preprocessed
        The preprocessed image.
    every
        Rows and columns of the crop to compute; by default all.

    Returns
    -------
    tuple
        Heat float32 and breast bool, both of the size of ``preprocessed.box``, or of its part
        `every`. The heat is interpolated between cell centres and constant beyond the outermost.
    """
    top, left, bottom, right = preprocessed.box
    rows = _preprocessed_positions(bottom - top, preprocessed.ranks.shape[0])[every[0]]
    columns = _preprocessed_positions(right - left, preprocessed.ranks.shape[1])
    if preprocessed.mirrored:
        columns = columns[::-1]
    columns = columns[every[1]]
    across = _interpolation(columns, cell_centres(logit_map.shape[1], preprocessed.ranks.shape[1]))
    down = _interpolation(rows, cell_centres(logit_map.shape[0], preprocessed.ranks.shape[0]))
    heat = down @ logit_map.astype(np.float32) @ across.T
    inside = preprocessed.ranks > 0
    breast = inside[_nearest(rows, inside.shape[0])][:, _nearest(columns, inside.shape[1])]
    return heat, breast


def overlay(display: Pixels, logit_map: Float, preprocessed: Preprocessed) -> Colours:
    """Draw a logit map over the image.

    Parameters
    ----------
    display
        uint8 (H, W): the image, as in `mammoscope.imaging.network_input.NetworkInput`.
    logit_map
        float32 (h, w).
    preprocessed
        The preprocessed image.

    Returns
    -------
    ndarray
        uint8 (H, W, 3), red, green, blue, of the image's size: `COLOURS` from the least to the
        greatest heat inside the breast, the image's grey outside it.
    """
    heat, breast = heat_map(logit_map, preprocessed)
    low, high = heat_range(heat, breast)
    drawn = np.repeat(display[:, :, None], 3, axis=2)
    top, left, bottom, right = preprocessed.box
    crop, grey = drawn[top:bottom, left:right], display[top:bottom, left:right]
    for first in range(0, crop.shape[0], _BAND_ROWS):
        band = slice(first, first + _BAND_ROWS)
        places = np.left_shift(_steps(heat[band], low, high), 8, dtype=np.intp)
        places |= grey[band]
        mixed = _mixtures().take(places, axis=0)
        crop[band] = cv2.copyTo(mixed, breast[band].astype(np.uint8), crop[band])
    return drawn


def layer(logit_map: Float, preprocessed: Preprocessed) -> Colours:
    """Draw a logit map by itself, to be laid over the image's crop.

    Returns
    -------
    ndarray
        uint8 (h, w, 4), red, green, blue, opacity, in the proportions of ``preprocessed.box`` with
        a longer side of at most `_LAYER_SIDE` pixels: opaque in the breast, else transparent.
    """
    heat, breast = heat_map(logit_map, preprocessed)
    low, high = heat_range(heat, breast)
    height, width = heat.shape
    scale = min(1.0, _LAYER_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shrunk = np.asarray(cv2.resize(heat, size, interpolation=cv2.INTER_AREA), np.float32)
    shown = np.where(breast, np.uint8(255), np.uint8(0))
    opacity = np.asarray(cv2.resize(shown, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.dstack([_colours(shrunk, low, high), opacity])


def heat_range(heat: Float, breast: Mask) -> tuple[float, float]:
    """Least and greatest heat inside the breast: the ends of the colour scale."""
    values = heat[breast] if breast.any() else heat
    return float(values.min()), float(values.max())


def _preprocessed_positions(length: int, preprocessed: int) -> FloatArray:
    """Position of each source pixel of the crop in the preprocessed image, before mirroring.

    Pixel centres are at integers, as in OpenCV's resize.
    """
    positions = (np.arange(length, dtype=np.float64) + 0.5) * (preprocessed / length) - 0.5
    return np.asarray(positions, dtype=np.float64)


def _nearest(positions: FloatArray, length: int) -> npt.NDArray[np.intp]:
    return np.clip(np.rint(positions), 0, length - 1).astype(np.intp)


def _interpolation(positions: FloatArray, centres: FloatArray) -> Float:
    """Weights float32 (P, C) that interpolate from C centres to P positions."""
    weights = np.empty((positions.size, centres.size), dtype=np.float32)
    for cell, unit in enumerate(np.eye(centres.size)):
        weights[:, cell] = np.interp(positions, centres, unit)
    return weights


def _colours(heat: Float, low: float, high: float) -> Colours:
    """uint8 (H, W, 3), red, green, blue; the middle colour if all heat is equal."""
    coloured = cv2.applyColorMap(_steps(heat, low, high), COLOURS)
    return np.asarray(coloured[:, :, ::-1], dtype=np.uint8)


@functools.cache
def _mixtures() -> Pixels:
    """uint8 (65536, 3): every step of colour over every grey, the grey in the lower 8 bits."""
    every = np.arange(256, dtype=np.uint8)
    colours = cv2.applyColorMap(every[:, None], COLOURS)[:, :, ::-1]
    mixed = (1.0 - OPACITY) * every[None, :, None] + np.float32(OPACITY) * colours
    return np.asarray(np.rint(mixed), np.uint8).reshape(-1, 3)


def _steps(heat: Float, low: float, high: float) -> Pixels:
    """uint8 (H, W): 0 for the least heat, 255 for the greatest, the middle if all are equal."""
    if high - low > _EVEN * max(abs(low), abs(high)):
        scaled = np.clip((heat - low) / (high - low), 0.0, 1.0)
    else:
        scaled = np.full_like(heat, 0.5)
    return np.asarray(np.rint(scaled * 255.0), np.uint8)
