"""Find the breast on a small square copy of the image, the search copy."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mammoscope.errors import NoBreastError
from mammoscope.imaging.arrays import Grey, Mask
from mammoscope.imaging.preprocessing.background import (
    SMALLEST_CONTRAST,
    background_is_bright,
    stretch_contrast,
)
from mammoscope.imaging.preprocessing.film_frame import without_film_frame
from mammoscope.imaging.preprocessing.film_marks import without_film_edges, without_painted_blocks
from mammoscope.imaging.preprocessing.objects import objects
from mammoscope.imaging.preprocessing.outline import outline_of
from mammoscope.imaging.preprocessing.resampling import Ends, resampled

SEARCH_SIZE: Final = 256
"""Side of the search copy in pixels."""

_SEARCHED: Final = 2
"""Maximum side of the image in which the breast is searched, as a multiple of the sides of result
and search copy."""

_FRAME_RANGE: Final = 3.5 / 255.0
"""Rows and columns at the edge with a smaller range of values count as empty."""

_CLEAR_RANGE: Final = 6.5 / 255.0
"""A row or column with at least this range counts as content, and so do all rows and columns inside
it. Both limits lie between 8-bit steps, so that rounding does not decide."""

_GRAIN: Final = 9
"""Length in pixels of the averages that tell whether a row or column is almost flat."""

_AT_FIRST: Final = 4
"""Number of rows or columns that are measured first, from the edge to the first clear one; then
twice as many at a time."""

_OPENING: Final = 7
"""Side of the opening, in search pixels, that separates labels and film edges from the breast."""

_SMALLEST_BREAST: Final = 0.02
"""Minimum share of the image covered by a breast."""

_SURROUNDINGS: Final = 11
"""Side of the dilation, in search pixels, that keeps some background around the breast."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The part of the image shown by the search copy, along one side.

    Parameters
    ----------
    outer
        First pixel of the image without its padding.
    length
        Number of pixels from there that are not padding.
    first, last
        Searched part of these, in fractional pixels.
    coarse
        Number of pixels of the searched part in the image from which the search copy is made.
    start, stop
        Part of those pixels shown by the search copy, in fractional pixels.
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
        """Number of image pixels, along this side, per pixel of the search copy."""
        shown = (self.stop - self.start) / SEARCH_SIZE
        return shown * (self.last - self.first) / self.coarse

    @property
    def origin(self) -> float:
        """Start of the search copy, in pixels from `outer`."""
        return self.first + self.start * (self.last - self.first) / self.coarse


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The breast found on the search copy.

    Parameters
    ----------
    small
        float32 (S, S) in [0, 1]: the search copy, dense tissue bright.
    breast
        bool (S, S): the breast on it.
    inverted
        Whether the image had a bright background.
    rows, columns
        The part of the image shown by the search copy.
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
    """Find the breast.

    Parameters
    ----------
    source
        float32 (H, W) in [0, 1].
    size
        Height and width required of the breast, in pixels.
    whole
        Whether to search the padding as well.
    inverted
        Whether the background is bright; None if unknown.

    Raises
    ------
    NoBreastError
        If nothing in the image could be a breast.
    """
    # Frame and padding are removed at full resolution: after shrinking, their edges would blend
    # into the image.
    outer = _whole(source) if whole else find_film(source)
    coarse = shrink_for_search(source[outer.rows, outer.columns], outer.ends, size)
    inner = _whole(coarse) if whole else find_content(coarse)
    small = stretch_contrast(
        resampled(coarse[inner.rows, inner.columns], inner.ends, (SEARCH_SIZE, SEARCH_SIZE))
    )
    known = inverted is not None
    if inverted is None:
        inverted = background_is_bright(small)
    if inverted:
        small = 1.0 - small
    breast = find_breast(small)
    if not whole and not outline_of(breast).is_of_a_breast:
        for flipped, other, object_ in _search_again(small, breast, either=not known):
            if outline_of(object_).is_of_a_breast:
                small, breast, inverted = other, object_, inverted != flipped
                break
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


def _search_again(small: Grey, breast: Mask, *, either: bool) -> Iterator[tuple[bool, Grey, Mask]]:
    """Search as on film and as with an implant, if the first search found no breast.

    Yields whether the search copy is inverted for the search, the search copy and the object found.
    If `either` is False, it is not inverted.
    """
    for flipped in (False, True)[: 1 + either]:
        copy = 1.0 - small if flipped else small
        filled = without_painted_blocks(copy, is_inverse=flipped)
        if filled is None:
            continue
        try:
            found = find_breast(filled)
        except NoBreastError:
            continue
        yield flipped, copy, found
        yield from ((flipped, copy, each) for each in _without_edges(copy, found))
    yield from ((False, small, each) for each in _without_edges(small, breast))
    if not breast.all():
        with suppress(NoBreastError):
            yield False, small, find_breast(small, implant=breast)


def _without_edges(small: Grey, found: Mask) -> Iterator[Mask]:
    thick = without_film_edges(found)
    if thick is not None and _stands_out(small, thick):
        yield thick


def _shown(
    outer: slice, ends: tuple[float, float], coarse: int, inner: slice, shown: tuple[float, float]
) -> Shown:
    return Shown(
        outer.start, outer.stop - outer.start, *ends, coarse,
        inner.start + shown[0], inner.start + shown[1],
    )  # fmt: skip


def without_annotations(source: Grey, found: Found) -> Grey:
    """Return the image with everything but the breast and its surroundings blanked.

    Text, markers and film edges influence the search copy's grid, its contrast and the threshold
    between breast and background, and so move the crop by a few pixels.

    Parameters
    ----------
    source
        float32 (H, W) in [0, 1].
    found
        The breast found on it.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_SURROUNDINGS, _SURROUNDINGS))
    near = cv2.dilate(found.breast.astype(np.uint8), kernel)
    rows, columns = _places(found.rows), _places(found.columns)
    kept = np.zeros(source.shape, np.bool_)
    # Beyond the search copy, its edge is continued.
    kept[
        found.rows.outer : found.rows.outer + found.rows.length,
        found.columns.outer : found.columns.outer + found.columns.length,
    ] = near[rows[:, None], columns]
    if kept.all():
        return source
    return np.where(kept, source, np.median(source[~kept]))


def _places(shown: Shown) -> npt.NDArray[np.intp]:
    """Row or column of the search copy for each of the image's pixels without padding."""
    places = (np.arange(shown.length) + 0.5 - shown.origin) / shown.each
    return np.asarray(np.clip(np.floor(places), 0, SEARCH_SIZE - 1), np.intp)


@dataclass(frozen=True, slots=True)
class Content:
    """The part of an image that is neither padding nor almost flat.

    Parameters
    ----------
    rows, columns
        Non-empty rows and columns.
    ends
        Top, bottom, left and right within them, in fractional pixels.
    """

    rows: slice
    columns: slice
    ends: Ends


def _whole(pixels: Grey) -> Content:
    height, width = pixels.shape
    return Content(slice(0, height), slice(0, width), (0.0, height, 0.0, width))


def shrink_for_search(source: Grey, ends: Ends, size: tuple[int, int]) -> Grey:
    """Shrink large images to one resolution for the search.

    Otherwise noise, which reading at a reduced size averages away, could move the crop.
    """
    height, width = (_SEARCHED * max(side, SEARCH_SIZE) for side in size)
    if source.shape[0] <= height or source.shape[1] <= width:
        height, width = source.shape
    return resampled(source, ends, (height, width))


def find_film(pixels: Grey) -> Content:
    """Find the image's content, without a scanner's frame and without padding.

    Raises
    ------
    NoBreastError
        If the whole image is flat.
    """
    content = find_content(pixels)
    film = pixels[content.rows, content.columns]
    top, bottom, left, right = without_film_frame(film)
    if (bottom - top, right - left) == film.shape:
        return content
    inner = find_content(film[top:bottom, left:right])
    rows = _moved(inner.rows, content.rows.start + top)
    return Content(rows, _moved(inner.columns, content.columns.start + left), inner.ends)


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def find_content(pixels: Grey) -> Content:
    """Find the image's content, without flat rows and columns at the edges.

    Padding must not count as background, whatever its grey value. An almost flat row counts as
    partly flat, because it may be flat in another copy of the image.

    Raises
    ------
    NoBreastError
        If the whole image is flat.
    """
    (bottom, right), top, left = pixels.shape, 0, 0
    # Removing rows can make columns flat, and the other way round (a frame around padding).
    while True:
        box = (top, left, bottom, right)
        inner = pixels[top:bottom, left:right]
        top, bottom = top + _flat(inner, 0), bottom - _flat(inner[::-1], 0)
        inner = pixels[top:bottom, left:right]
        left, right = left + _flat(inner, 1), right - _flat(inner[:, ::-1], 1)
        if box == (top, left, bottom, right):
            ends = (
                _faint(inner, 0), bottom - top - _faint(inner[::-1], 0),
                _faint(inner, 1), right - left - _faint(inner[:, ::-1], 1),
            )  # fmt: skip
            return Content(slice(top, bottom), slice(left, right), ends)


def _flat(inner: Grey, axis: int) -> int:
    """Number of leading rows (axis 0) or columns (axis 1) that are flat.

    Raises
    ------
    NoBreastError
        If all are.
    """
    for begin, lines in _from_edge(inner, axis):
        clear = np.flatnonzero(np.ptp(lines, axis=1 - axis) > _FRAME_RANGE)
        if clear.size:
            return begin + int(clear[0])
    raise NoBreastError("The image is blank.")


def _from_edge(inner: Grey, axis: int) -> Iterator[tuple[int, Grey]]:
    """Yield rows (axis 0) or columns (axis 1), more and more at a time, and the first's number."""
    begin, count = 0, _AT_FIRST
    while begin < inner.shape[axis]:
        part = slice(begin, begin + count)
        yield begin, inner[part] if axis == 0 else inner[:, part]
        begin, count = begin + count, 2 * count


def _faint(inner: Grey, axis: int) -> float:
    """Number of leading rows (axis 0) or columns (axis 1) that count as flat.

    One whose values have `_FRAME_RANGE` counts fully. One with `_CLEAR_RANGE`, and every one after
    it, does not count; if there is none, nothing is flat.
    """
    grain = min(_GRAIN, inner.shape[1 - axis])
    ranges = np.empty(0, np.float32)
    for _, lines in _from_edge(inner, axis):
        # Average out noise along rows and columns: its range differs between copies.
        smooth = cv2.blur(np.ascontiguousarray(lines), (grain, 1) if axis == 0 else (1, grain))
        ranges = np.concatenate([ranges, np.ptp(smooth, axis=1 - axis)])
        if ranges.max() >= _CLEAR_RANGE:
            clear = (np.maximum.accumulate(ranges) - _FRAME_RANGE) / (_CLEAR_RANGE - _FRAME_RANGE)
            return float(np.clip(1.0 - clear, 0.0, 1.0).sum(dtype=np.float64))
    return 0.0


def find_breast(small: Grey, implant: Mask | None = None) -> Mask:
    """Largest bright object of the upright search copy: bool (SEARCH_SIZE, SEARCH_SIZE).

    `implant` does not count for the threshold between breast and background: if overexposed, its
    grey value is more frequent than the background's.
    """
    smooth = cv2.GaussianBlur(small, (5, 5), 0)
    eight_bit = np.asarray(np.clip(smooth * 255.0, 0, 255), dtype=np.uint8)
    # Zack GW, Rogers WE, Latt SA. J Histochem Cytochem 1977;25:741-753. The method suits histograms
    # with one high peak; here that is the background.
    counted = eight_bit if implant is None else eight_bit[~implant]
    limit, _ = cv2.threshold(counted, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_TRIANGLE)
    bright = (eight_bit > limit).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_OPENING, _OPENING))
    # Edge padding keeps a breast at the border from being rounded off there.
    padded = np.pad(bright, _OPENING, mode="edge")
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, kernel)[
        _OPENING:-_OPENING, _OPENING:-_OPENING
    ]
    labels, areas = objects(np.asarray(opened, np.uint8), connectivity=4)
    if areas.size == 0:
        raise NoBreastError("Nothing in the image stands out from its background.")
    breast = np.asarray(labels == 1 + int(np.argmax(areas)), dtype=np.bool_)
    if breast.mean() < _SMALLEST_BREAST:
        raise NoBreastError("Nothing in the image is large enough to be a breast.")
    if not _stands_out(small, breast):
        raise NoBreastError("Nothing in the image stands out from its background.")
    return breast


def _stands_out(small: Grey, breast: Mask) -> bool:
    background = ~breast
    if not background.any():
        return True
    return bool(small[breast].mean() - small[background].mean() >= SMALLEST_CONTRAST)
