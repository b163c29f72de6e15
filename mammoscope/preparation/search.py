"""The breast, sought on a small square copy of the picture."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mammoscope.errors import NoBreastError

Grey = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SEARCH_SIZE: Final = 256
"""Side of the square copy, in pixels, on which the breast is sought."""

_SEARCHED: Final = 2
"""Times the sides of result and search copy that a picture's sides are at most when the breast is
sought."""

_FRAME_RANGE: Final = 3.0 / 255.0
"""Rows and columns at the edge whose values vary less than this hold nothing."""

_OPENING: Final = 7
"""Side of the opening, in search pixels, that cuts labels and film edges off the breast."""

_SMALLEST_BREAST: Final = 0.02
"""A breast covers at least this share of the picture."""

SMALLEST_CONTRAST: Final = 0.02
"""Breast and background differ at least this much, of the picture's full range."""

_EXTREME_RANGE: Final = 0.12
"""Grey values this near to the picture's darkest or brightest count as extreme."""

_EXTREME_SHARE: Final = 0.15
"""A digital picture's background makes at least this share of its edges extreme."""

_EDGE: Final = 10
"""Breadth of the edges, in search pixels."""

_SURROUNDINGS: Final = 11
"""Side of the dilation, in search pixels, that leaves the breast some background around it."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the search copy shows along one side of the picture.

    Parameters
    ----------
    outer
        First pixel of the picture without its padding.
    length
        Pixels from there that are no padding.
    coarse
        Pixels that `length` has in the picture that the search copy is made of.
    start, stop
        Half-open range of those that the search copy shows.
    """

    outer: int
    length: int
    coarse: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The breast on the search copy.

    Parameters
    ----------
    small
        float32 (S, S) in [0, 1]: the search copy, dense tissue bright.
    breast
        bool (S, S): the breast on it.
    inverted
        Whether the picture had a bright background.
    rows, columns
        What of the picture the search copy shows.
    breast_share
        Share of the picture that the breast covers, in (0, 1].
    """

    small: Grey
    breast: Mask
    inverted: bool
    rows: Shown
    columns: Shown
    breast_share: float


def seek(
    source: Grey, size: tuple[int, int], *, whole: bool = False, inverted: bool | None = None
) -> Found:
    """Seek the breast.

    Parameters
    ----------
    source
        float32 (H, W) in [0, 1].
    size
        Height and width that the breast is wanted in.
    whole
        Whether padding belongs to what is searched.
    inverted
        Whether the background is bright, where that is known.

    Raises
    ------
    NoBreastError
        If nothing in the picture could be a breast.
    """
    pixels_in_all = source.size
    find_box = _whole if whole else find_content
    # Padding goes first, at its own resolution: shrunk, its edge would blend into the picture.
    outer_top, outer_left, outer_bottom, outer_right = find_box(source)
    source = source[outer_top:outer_bottom, outer_left:outer_right]
    coarse = shrink_for_search(source, size)
    top, left, bottom, right = find_box(coarse)
    pixels = coarse[top:bottom, left:right]
    small = stretch_contrast(
        cv2.resize(pixels, (SEARCH_SIZE, SEARCH_SIZE), interpolation=interpolation(pixels.shape))
    )
    if inverted is None:
        inverted = background_is_bright(small)
    if inverted:
        small = 1.0 - small
    breast = find_breast(small)
    share = float(breast.mean()) * pixels.size / coarse.size * source.size / pixels_in_all
    return Found(
        small=small,
        breast=breast,
        inverted=inverted,
        rows=Shown(outer_top, source.shape[0], coarse.shape[0], top, bottom),
        columns=Shown(outer_left, source.shape[1], coarse.shape[1], left, right),
        breast_share=share,
    )


def without_annotations(source: Grey, found: Found) -> Grey:
    """The picture with nothing but background around the breast and its surroundings.

    Text, markers and edges of film move the search copy's grid, its contrast and the threshold
    between breast and background, and with them the crop by a few pixels.

    Parameters
    ----------
    source
        float32 (H, W) in [0, 1].
    found
        The breast on it.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_SURROUNDINGS, _SURROUNDINGS))
    near = cv2.dilate(found.breast.astype(np.uint8), kernel)
    rows, columns = _shown(found.rows), _shown(found.columns)
    kept = np.zeros(source.shape, np.bool_)
    # Where the search copy ends before the picture does, its edge goes on.
    kept[
        found.rows.outer : found.rows.outer + found.rows.length,
        found.columns.outer : found.columns.outer + found.columns.length,
    ] = near[rows[:, None], columns]
    if kept.all():
        return source
    return np.where(kept, source, np.median(source[~kept]))


def _shown(shown: Shown) -> npt.NDArray[np.intp]:
    """Row or column of the search copy for each of the picture's pixels that are no padding."""
    coarse = np.arange(shown.length) * shown.coarse // shown.length
    copied = (coarse - shown.start) * SEARCH_SIZE // (shown.stop - shown.start)
    return np.asarray(np.clip(copied, 0, SEARCH_SIZE - 1), np.intp)


def _whole(pixels: Grey) -> tuple[int, int, int, int]:
    return 0, 0, pixels.shape[0], pixels.shape[1]


def shrink_for_search(source: Grey, size: tuple[int, int]) -> Grey:
    """The picture in which the breast is sought: one resolution for all large pictures.

    Otherwise noise that a reduced reading has averaged away could move the crop.
    """
    height, width = (_SEARCHED * max(side, SEARCH_SIZE) for side in size)
    if source.shape[0] <= height or source.shape[1] <= width:
        return source
    return np.asarray(
        cv2.resize(source, (width, height), interpolation=cv2.INTER_AREA), dtype=np.float32
    )


def find_content(pixels: Grey) -> tuple[int, int, int, int]:
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


def interpolation(source: tuple[int, ...], target: tuple[int, int] | None = None) -> int:
    """OpenCV's flag to resize from `source` to `target`, the search copy where None."""
    height, width = target or (SEARCH_SIZE, SEARCH_SIZE)
    shrinks = source[0] >= height and source[1] >= width
    return cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR


def stretch_contrast(search_copy: npt.ArrayLike) -> Grey:
    """Stretch the search copy to the full range.

    Raises
    ------
    NoBreastError
        If it has one grey value.
    """
    small = np.asarray(search_copy, dtype=np.float32)
    low, high = float(small.min()), float(small.max())
    if high - low < SMALLEST_CONTRAST / 4:
        raise NoBreastError("The picture is blank.")
    return np.asarray((small - low) / (high - low), dtype=np.float32)


def background_is_bright(small: Grey) -> bool:
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


def find_breast(small: Grey) -> Mask:
    """Largest bright object of the upright search copy: bool (SEARCH_SIZE, SEARCH_SIZE)."""
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
    if background.any() and small[breast].mean() - small[background].mean() < SMALLEST_CONTRAST:
        raise NoBreastError("Nothing in the picture stands out from its background.")
    return breast
