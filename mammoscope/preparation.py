"""A `Mammogram` to the network's input: the one preparation of training, evaluation and service.

Un-invert, find the breast, drop what lies outside it, crop, turn the chest wall to the left,
normalise, stretch to a fixed box. The breast is sought on a small square copy, so that the
result does not depend on the aspect ratio or resolution at which a picture was exported.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

from mammoscope.errors import NoBreastError
from mammoscope.mammogram import Mammogram

Grey = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_SEARCH_SIZE: Final = 256
"""Side of the square copy, in pixels, on which the breast is sought."""

_SEARCHED: Final = 2
"""Times the sides of result and search copy that a picture's sides are at most when the breast is
sought."""

_FRAME_RANGE: Final = 3.0 / 255.0
"""Rows and columns at the edge whose values vary less than this hold nothing."""

_OPENING: Final = 7
"""Side of the opening, in search pixels, that cuts labels and film edges off the breast."""

_DILATION: Final = 5
"""Side of the dilation, in search pixels, that gives back the skin line."""

_SMALLEST_BREAST: Final = 0.02
"""A breast covers at least this share of the picture."""

_SMALLEST_CONTRAST: Final = 0.02
"""Breast and background differ at least this much, of the picture's full range."""

_EXTREME_RANGE: Final = 0.12
"""Grey values this near to the picture's darkest or brightest count as extreme."""

_EXTREME_SHARE: Final = 0.15
"""A digital picture's background makes at least this share of its edges extreme."""

_EDGE: Final = 10
"""Breadth of the edges, in search pixels."""

_LOW_PERCENTILE: Final = 1.0
_HIGH_PERCENTILE: Final = 99.5
"""Percentiles of the grey values inside the breast beyond which all count as one."""

_RANK_BINS: Final = 1024
"""Steps in which grey values are ranked: finer than the 255 ranks, coarser than noise."""


@dataclass(frozen=True, slots=True, eq=False)
class Preparation:
    """A network input and how it was cut from the picture.

    Parameters
    ----------
    pixels
        uint8 (H, W), read-only: the breast stretched to the whole box, chest wall on the left,
        dense tissue bright, 0 outside the breast.
    inverted
        Whether the picture had a bright background and was inverted.
    mirrored
        Whether left and right were exchanged.
    chest_wall
        Side of the source picture on which the chest wall lies.
    box
        Crop (top, left, bottom, right) in the mammogram's pixels, half-open.
    breast_share
        Share of the source picture that the breast covers, in (0, 1].
    search_copy
        float32 (S, S) in [0, 1], read-only: the picture without its padding, stretched to a small
        square and to the full range, dense tissue bright; the breast was sought on it.
    breast
        bool (S, S), read-only: the breast on that copy.
    """

    pixels: npt.NDArray[np.uint8]
    inverted: bool
    mirrored: bool
    chest_wall: Literal["left", "right"]
    box: tuple[int, int, int, int]
    breast_share: float
    search_copy: Grey
    breast: Mask


def prepare(mammogram: Mammogram, size: tuple[int, int]) -> Preparation:
    """Cut the breast out of a picture and bring it into the network's form.

    Parameters
    ----------
    mammogram
        The picture.
        Where it was read reduced and its breast turns out to have fewer pixels than the result, it
        is read again with all its pixels.
    size
        Height and width of the result in pixels.

    Raises
    ------
    ImageError
        If it has to be read again and cannot be.
    NoBreastError
        If nothing in the picture could be a breast: it is blank, or what stands out from the
        background is too small.
    """
    prepared = _prepare(mammogram.pixels, size)
    top, left, bottom, right = prepared.box
    if mammogram.read_fully is None or (bottom - top >= size[0] and right - left >= size[1]):
        return prepared
    full = mammogram.read_fully().pixels
    fully = _prepare(full, size)
    return replace(fully, box=_scaled_box(fully.box, full.shape, mammogram.pixels.shape))


def _prepare(source: Grey, size: tuple[int, int]) -> Preparation:
    coarse = _coarse(source, size)
    top, left, bottom, right = _content(coarse)
    pixels = coarse[top:bottom, left:right]
    small = _stretch_contrast(
        cv2.resize(pixels, (_SEARCH_SIZE, _SEARCH_SIZE), interpolation=_interpolation(pixels.shape))
    )
    inverted = _background_is_bright(small)
    if inverted:
        small = 1.0 - small
    breast = _find_breast(small)
    rows, columns = np.flatnonzero(breast.any(axis=1)), np.flatnonzero(breast.any(axis=0))
    y0, y1 = _to_source(rows, (top, bottom), (coarse.shape[0], source.shape[0]))
    x0, x1 = _to_source(columns, (left, right), (coarse.shape[1], source.shape[1]))
    chest_wall = _chest_wall(breast[:, columns[0] : columns[-1] + 1])

    crop = source[y0:y1, x0:x1]
    height, width = size
    stretched = np.asarray(
        cv2.resize(crop, (width, height), interpolation=_interpolation(crop.shape, size)),
        dtype=np.float32,
    )
    inside = _stretched_mask(breast, rows, columns, size)
    if inverted:
        stretched = 1.0 - stretched
    prepared = _normalise(stretched, inside)
    mirrored = chest_wall == "right"
    if mirrored:
        prepared = np.ascontiguousarray(prepared[:, ::-1])
    for array in (prepared, small, breast):
        array.setflags(write=False)
    return Preparation(
        pixels=prepared,
        inverted=inverted,
        mirrored=mirrored,
        chest_wall=chest_wall,
        box=(y0, x0, y1, x1),
        breast_share=float(breast.mean()) * pixels.size / coarse.size,
        search_copy=small,
        breast=breast,
    )


def _scaled_box(
    box: tuple[int, int, int, int], source: tuple[int, ...], target: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """Smallest box of a picture of size `target` that covers `box` of one of size `source`."""
    top, left, bottom, right = box
    (height, width), (rows, columns) = target, source
    return (
        top * height // rows,
        left * width // columns,
        -(-bottom * height // rows),
        -(-right * width // columns),
    )


def _coarse(source: Grey, size: tuple[int, int]) -> Grey:
    """The picture in which the breast is sought: one resolution for all large pictures.

    Otherwise noise that a reduced reading has averaged away could move the crop.
    """
    height, width = (_SEARCHED * max(side, _SEARCH_SIZE) for side in size)
    if source.shape[0] <= height or source.shape[1] <= width:
        return source
    return np.asarray(
        cv2.resize(source, (width, height), interpolation=cv2.INTER_AREA), dtype=np.float32
    )


def _content(pixels: Grey) -> tuple[int, int, int, int]:
    """Box (top, left, bottom, right) without the flat rows and columns at the edges.

    Padding added to a picture, whatever its grey value, must not count as its background.
    """
    top, left = 0, 0
    bottom, right = pixels.shape
    # Removing rows can make columns flat and the other way round (a frame around padding).
    while True:
        box = (top, left, bottom, right)
        inner = pixels[top:bottom, left:right]
        rows = np.flatnonzero(np.ptp(inner, axis=1) > _FRAME_RANGE)
        if rows.size == 0:
            raise NoBreastError("The picture is blank.")
        top, bottom = top + int(rows[0]), top + int(rows[-1]) + 1
        inner = pixels[top:bottom, left:right]
        columns = np.flatnonzero(np.ptp(inner, axis=0) > _FRAME_RANGE)
        if columns.size == 0:
            raise NoBreastError("The picture is blank.")
        left, right = left + int(columns[0]), left + int(columns[-1]) + 1
        if box == (top, left, bottom, right):
            return box


def _interpolation(source: tuple[int, ...], target: tuple[int, int] | None = None) -> int:
    height, width = target or (_SEARCH_SIZE, _SEARCH_SIZE)
    shrinks = source[0] >= height and source[1] >= width
    return cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR


def _stretch_contrast(search_copy: npt.ArrayLike) -> Grey:
    small = np.asarray(search_copy, dtype=np.float32)
    low, high = float(small.min()), float(small.max())
    if high - low < _SMALLEST_CONTRAST / 4:
        raise NoBreastError("The picture is blank.")
    return np.asarray((small - low) / (high - low), dtype=np.float32)


def _background_is_bright(small: Grey) -> bool:
    """Whether the picture's background is brighter than the breast.

    The background is what most of the extreme grey values along the edges belong to: a breast
    with an implant can be brighter and larger than all else, but touches one edge. Where few are
    extreme (scanned film), it is the flattest part. Both rules are antisymmetric: they answer the
    opposite for the inverted picture.
    """
    edges = np.ones(small.shape, dtype=np.bool_)
    edges[_EDGE:-_EDGE, _EDGE:-_EDGE] = False
    dark = float((small[edges] < _EXTREME_RANGE).mean())
    bright = float((small[edges] > 1.0 - _EXTREME_RANGE).mean())
    if max(dark, bright) >= _EXTREME_SHARE:
        return bright > dark
    mean = cv2.blur(small, (9, 9))
    variance = cv2.blur(small * small, (9, 9)) - mean * mean
    flat = variance <= np.quantile(variance, 0.3)
    if flat.all():
        raise NoBreastError("The picture is blank.")
    return float(small[flat].mean()) > float(small[~flat].mean())


def _find_breast(small: Grey) -> Mask:
    """Largest bright object of the upright search copy: bool (_SEARCH_SIZE, _SEARCH_SIZE)."""
    smooth = cv2.GaussianBlur(small, (5, 5), 0)
    eight_bit = np.asarray(np.clip(smooth * 255.0, 0, 255), dtype=np.uint8)
    # Zack GW, Rogers WE, Latt SA. J Histochem Cytochem 1977;25:741-753: made for a histogram
    # with one high peak, here the background.
    _, bright = cv2.threshold(eight_bit, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_TRIANGLE)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_OPENING, _OPENING))
    # The border replicates, so that a breast touching the edge is not rounded off there.
    padded = np.pad(np.asarray(bright, dtype=np.uint8), _OPENING, mode="edge")
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, kernel)[
        _OPENING:-_OPENING, _OPENING:-_OPENING
    ]
    count, labels, facts, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if count < 2:
        raise NoBreastError("Nothing in the picture stands out from its background.")
    largest = 1 + int(np.argmax(facts[1:, cv2.CC_STAT_AREA]))
    breast = np.asarray(labels == largest, dtype=np.bool_)
    if breast.mean() < _SMALLEST_BREAST:
        raise NoBreastError("Nothing in the picture is large enough to be a breast.")
    background = ~breast
    if background.any() and small[breast].mean() - small[background].mean() < _SMALLEST_CONTRAST:
        raise NoBreastError("Nothing in the picture stands out from its background.")
    return breast


def _to_source(
    indices: npt.NDArray[np.intp], content: tuple[int, int], lengths: tuple[int, int]
) -> tuple[int, int]:
    """Half-open range of source pixels under the given rows or columns of the search copy.

    Parameters
    ----------
    indices
        Rows or columns of the search copy, ascending.
    content
        Half-open range of the coarse picture that the search copy shows.
    lengths
        Side of the coarse picture and of the source.
    """
    start, stop = content
    coarse, source = lengths
    # In whole numbers, so that nothing is rounded on the way.
    unit = coarse * _SEARCH_SIZE
    ends = (int(index) * (stop - start) + start * _SEARCH_SIZE for index in
            (indices[0], indices[-1] + 1))  # fmt: skip
    first, last = (end * source for end in ends)
    return first // unit, max(-(-last // unit), first // unit + 1)


def _chest_wall(breast: Mask) -> Literal["left", "right"]:
    """Side on which the cropped breast is broader from top to bottom."""
    half = breast.shape[1] // 2
    return "left" if breast[:, :half].sum() >= breast[:, -half:].sum() else "right"


def _stretched_mask(
    breast: Mask, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], size: tuple[int, int]
) -> Mask:
    """The breast with its skin line, cropped and stretched like the picture: bool (H, W)."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_DILATION, _DILATION))
    wide = cv2.dilate(breast.astype(np.uint8), kernel)
    crop = wide[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    height, width = size
    return np.asarray(cv2.resize(crop, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5)


def _normalise(stretched: Grey, inside: Mask) -> npt.NDArray[np.uint8]:
    """Replace each grey value by its rank inside the breast, 1 to 255, and blank the rest.

    Ranks do not change under any monotone curve of grey values, be it a scanner's processing or a
    display window: what one scanner's look says about its patients is not offered to the network.
    """
    values = stretched[inside]
    low, high = (float(v) for v in np.percentile(values, (_LOW_PERCENTILE, _HIGH_PERCENTILE)))
    if high - low < _SMALLEST_CONTRAST / 10:
        raise NoBreastError("What stands out from the background has no structure.")
    bins = np.clip((stretched - low) * (_RANK_BINS / (high - low)), 0, _RANK_BINS - 1)
    bins = bins.astype(np.int32)
    counts = np.bincount(bins[inside], minlength=_RANK_BINS)
    ranks = (np.cumsum(counts) - 0.5 * counts) / values.size
    levels = np.rint(1.0 + 254.0 * ranks).astype(np.uint8)
    return np.where(inside, levels[bins], np.uint8(0))
