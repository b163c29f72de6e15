"""The breast, sought on a small square copy of the image."""

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mammoscope.errors import NoBreastError
from mammoscope.imaging.arrays import Grey, Mask
from mammoscope.imaging.preprocessing.film_frame import without_film_frame
from mammoscope.imaging.preprocessing.resampling import Ends, resampled

SEARCH_SIZE: Final = 256
"""Side of the square copy, in pixels, on which the breast is sought."""

_SEARCHED: Final = 2
"""Times the sides of result and search copy that an image's sides are at most when the breast is
sought."""

_FRAME_RANGE: Final = 3.5 / 255.0
"""Rows and columns at the edge whose values vary less than this hold nothing."""

_CLEAR_RANGE: Final = 6.5 / 255.0
"""Those whose values vary by this hold something, and all that lie further inside. Both lie between
steps of 8 bits, so that rounding decides nothing."""

_GRAIN: Final = 9
"""Pixels along a row or column whose means tell whether it is next to flat."""

_OPENING: Final = 7
"""Side of the opening, in search pixels, that cuts labels and film edges off the breast."""

_SMALLEST_BREAST: Final = 0.02
"""A breast covers at least this share of the image."""

SMALLEST_CONTRAST: Final = 0.02
"""Breast and background differ at least this much, of the image's full range."""

_EXTREME_RANGE: Final = 0.12
"""Grey values this near to the image's darkest or brightest count as extreme."""

_EXTREME_SHARE: Final = 0.15
"""A digital image's background makes at least this share of its edges extreme."""

_EDGE: Final = 10
"""Breadth of the edges, in search pixels."""

_SURROUNDINGS: Final = 11
"""Side of the dilation, in search pixels, that leaves the breast some background around it."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the search copy shows along one side of the image.

    Parameters
    ----------
    outer
        First pixel of the image without its padding.
    length
        Pixels from there that are no padding.
    first, last
        Stretch of those that is searched, in parts of pixels.
    coarse
        Pixels that it has in the image that the search copy is made of.
    start, stop
        Stretch of those that the search copy shows, in parts of pixels.
    """

    outer: int
    length: int
    first: float
    last: float
    coarse: int
    start: float
    stop: float

    @property
    def each(self) -> float:
        """Pixels of the image, along this side, that one of the search copy stands for."""
        shown = (self.stop - self.start) / SEARCH_SIZE
        return shown * (self.last - self.first) / self.coarse

    @property
    def origin(self) -> float:
        """Where the search copy begins, in pixels from `outer`."""
        return self.first + self.start * (self.last - self.first) / self.coarse


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
        Whether the image had a bright background.
    rows, columns
        What of the image the search copy shows.
    breast_share
        Share of the image that the breast covers, in (0, 1].
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
        If nothing in the image could be a breast.
    """
    find_box = _whole if whole else find_content
    # Padding goes first, at its own resolution: shrunk, its edge would blend into the image.
    outer = find_box(source)
    coarse = shrink_for_search(source[outer.rows, outer.columns], outer.ends, size)
    inner = find_box(coarse)
    small = stretch_contrast(
        resampled(coarse[inner.rows, inner.columns], inner.ends, (SEARCH_SIZE, SEARCH_SIZE))
    )
    if inverted is None:
        inverted = background_is_bright(small)
    if inverted:
        small = 1.0 - small
    breast = find_breast(small)
    rows, columns = (
        _shown(*sides)
        for sides in (
            (outer.rows, outer.ends[:2], coarse.shape[0], inner.rows, inner.ends[:2]),
            (outer.columns, outer.ends[2:], coarse.shape[1], inner.columns, inner.ends[2:]),
        )
    )
    searched = rows.each * columns.each * SEARCH_SIZE**2 / source.size
    return Found(
        small=small,
        breast=breast,
        inverted=inverted,
        rows=rows,
        columns=columns,
        breast_share=float(breast.mean()) * searched,
    )


def _shown(
    outer: slice, ends: tuple[float, float], coarse: int, inner: slice, shown: tuple[float, float]
) -> Shown:
    return Shown(
        outer.start, outer.stop - outer.start, *ends, coarse,
        inner.start + shown[0], inner.start + shown[1],
    )  # fmt: skip


def without_annotations(source: Grey, found: Found) -> Grey:
    """The image with nothing but background around the breast and its surroundings.

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
    rows, columns = _places(found.rows), _places(found.columns)
    kept = np.zeros(source.shape, np.bool_)
    # Where the search copy ends before the image does, its edge goes on.
    kept[
        found.rows.outer : found.rows.outer + found.rows.length,
        found.columns.outer : found.columns.outer + found.columns.length,
    ] = near[rows[:, None], columns]
    if kept.all():
        return source
    return np.where(kept, source, np.median(source[~kept]))


def _places(shown: Shown) -> npt.NDArray[np.intp]:
    """Row or column of the search copy for each of the image's pixels that are no padding."""
    places = (np.arange(shown.length) + 0.5 - shown.origin) / shown.each
    return np.asarray(np.clip(np.floor(places), 0, SEARCH_SIZE - 1), np.intp)


@dataclass(frozen=True, slots=True)
class Content:
    """What of an image is neither padding nor as good as none.

    Parameters
    ----------
    rows, columns
        Without those that hold nothing.
    ends
        Top, bottom, left and right within them, in parts of pixels.
    """

    rows: slice
    columns: slice
    ends: Ends


def _whole(pixels: Grey) -> Content:
    height, width = pixels.shape
    return Content(slice(0, height), slice(0, width), (0.0, height, 0.0, width))


def shrink_for_search(source: Grey, ends: Ends, size: tuple[int, int]) -> Grey:
    """The image in which the breast is sought: one resolution for all large images.

    Otherwise noise that a reduced reading has averaged away could move the crop.
    """
    height, width = (_SEARCHED * max(side, SEARCH_SIZE) for side in size)
    if source.shape[0] <= height or source.shape[1] <= width:
        height, width = source.shape
    return resampled(source, ends, (height, width))


def find_content(pixels: Grey) -> Content:
    """What is left without the flat rows and columns at the edges.

    Padding added to an image, whatever its grey value, must not count as its background. A row
    that is next to flat counts as that by a part, since in another copy it may be flat.

    Raises
    ------
    NoBreastError
        If all of the image is flat.
    """
    top, bottom, left, right = without_film_frame(pixels)
    # Removing rows can make columns flat and the other way round (a frame around padding).
    while True:
        box = (top, left, bottom, right)
        inner = pixels[top:bottom, left:right]
        rows = np.flatnonzero(np.ptp(inner, axis=1) > _FRAME_RANGE)
        if rows.size == 0:
            raise NoBreastError("The image is blank.")
        top, bottom = top + int(rows[0]), top + int(rows[-1]) + 1
        inner = pixels[top:bottom, left:right]
        columns = np.flatnonzero(np.ptp(inner, axis=0) > _FRAME_RANGE)
        if columns.size == 0:
            raise NoBreastError("The image is blank.")
        left, right = left + int(columns[0]), left + int(columns[-1]) + 1
        if box == (top, left, bottom, right):
            # Noise, whose range is another in each copy, is averaged away along rows and columns.
            down = np.ptp(cv2.blur(inner, (min(_GRAIN, right - left), 1)), axis=1)
            across = np.ptp(cv2.blur(inner, (1, min(_GRAIN, bottom - top))), axis=0)
            ends = (
                _faint(down), bottom - top - _faint(down[::-1]),
                _faint(across), right - left - _faint(across[::-1]),
            )  # fmt: skip
            return Content(slice(top, bottom), slice(left, right), ends)


def _faint(ranges: npt.NDArray[np.floating[Any]]) -> float:
    """How many rows at the beginning count as flat, from their ranges of values.

    A row of `_FRAME_RANGE` does wholly, one of `_CLEAR_RANGE` not at all, nor what comes after it.
    """
    if ranges.max() < _CLEAR_RANGE:
        return 0.0
    clear = (np.maximum.accumulate(ranges) - _FRAME_RANGE) / (_CLEAR_RANGE - _FRAME_RANGE)
    return float(np.clip(1.0 - clear, 0.0, 1.0).sum(dtype=np.float64))


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
        raise NoBreastError("The image is blank.")
    return np.asarray((small - low) / (high - low), dtype=np.float32)


def background_is_bright(small: Grey) -> bool:
    """Whether the image's background is brighter than the breast.

    The background is what most of the extreme grey values along the edges belong to: a breast
    with an implant can be brighter and larger than all else, but touches one edge. Where few are
    extreme (scanned film), it is the flattest part. Both rules are antisymmetric: they answer the
    opposite for the inverted image.
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
        raise NoBreastError("The image is blank.")
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
        raise NoBreastError("Nothing in the image stands out from its background.")
    largest = 1 + int(np.argmax(facts[1:, cv2.CC_STAT_AREA]))
    breast = np.asarray(labels == largest, dtype=np.bool_)
    if breast.mean() < _SMALLEST_BREAST:
        raise NoBreastError("Nothing in the image is large enough to be a breast.")
    background = ~breast
    if background.any() and small[breast].mean() - small[background].mean() < SMALLEST_CONTRAST:
        raise NoBreastError("Nothing in the image stands out from its background.")
    return breast
