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
from mammoscope.mammogram import Mammogram, reduction_for, shrink
from mammoscope.preparation.search import (
    SEARCH_SIZE,
    SMALLEST_CONTRAST,
    Grey,
    Mask,
    Shown,
    interpolation,
    seek,
    without_annotations,
)

_DETECTOR_SIDE: Final = 1200
"""Pixels that each side of a detector's picture has; the smallest in use have 1914 x 2294. Its
annotations have no part in the search. Those of smaller pictures have: networks learned from
exports of 640 x 640, whose crops must stay what they were."""

_DILATION: Final = 5
"""Side of the dilation, in search pixels, that gives back the skin line."""

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


def prepare(
    mammogram: Mammogram, size: tuple[int, int], *, crop_to_breast: bool = True
) -> Preparation:
    """Cut the breast out of a picture and bring it into the network's form.

    Parameters
    ----------
    mammogram
        The picture. Where its breast, reduced, turns out to have fewer pixels than the result,
        all its pixels are used, and read again if need be.
    size
        Height and width of the result in pixels.
    crop_to_breast
        Whether the box is the breast's. If not, it is that of the whole picture, padding and
        all, so that the two can be compared.

    Raises
    ------
    ImageError
        If it has to be read again and cannot be.
    NoBreastError
        If nothing in the picture could be a breast: it is blank, or what stands out from the
        background is too small.
    """
    pixels, already = mammogram.pixels, mammogram.reduction
    shape = pixels.shape
    source = (shape[0] * already, shape[1] * already)
    factor = reduction_for(source, size)
    # A whole picture is reduced too, as its reader would have done it: both come out alike.
    unit = max(1, factor // already)
    less = shrink(pixels, unit)
    annotated = min(source) >= _DETECTOR_SIDE
    prepared = _prepare(less, size, crop_to_breast=crop_to_breast, annotated=annotated)
    top, left, bottom, right = prepared.box
    if bottom - top >= size[0] and right - left >= size[1]:
        return replace(prepared, box=(top * unit, left * unit, bottom * unit, right * unit))
    full = pixels if mammogram.read_fully is None else mammogram.read_fully().pixels
    if full.shape == less.shape:
        return prepared
    fully = _prepare(full, size, crop_to_breast=crop_to_breast, annotated=annotated)
    return replace(fully, box=_scaled_box(fully.box, full.shape, shape))


def _prepare(
    source: Grey, size: tuple[int, int], *, crop_to_breast: bool, annotated: bool
) -> Preparation:
    found = seek(source, size, whole=not crop_to_breast)
    judged = found
    if crop_to_breast and annotated:
        judged = seek(without_annotations(source, found), size, inverted=found.inverted)
    breast = judged.breast
    rows, columns = np.flatnonzero(breast.any(axis=1)), np.flatnonzero(breast.any(axis=0))
    chest_wall = _chest_wall(breast[:, columns[0] : columns[-1] + 1])
    if not crop_to_breast:
        rows = columns = np.arange(SEARCH_SIZE)
    y0, y1 = _to_source(rows, judged.rows)
    x0, x1 = _to_source(columns, judged.columns)

    crop = source[y0:y1, x0:x1]
    height, width = size
    stretched = np.asarray(
        cv2.resize(crop, (width, height), interpolation=interpolation(crop.shape, size)),
        dtype=np.float32,
    )
    inside = _stretched_mask(breast, rows, columns, size)
    if found.inverted:
        stretched = 1.0 - stretched
    prepared = _normalise(stretched, inside)
    mirrored = chest_wall == "right"
    if mirrored:
        prepared = np.ascontiguousarray(prepared[:, ::-1])
    for array in (prepared, found.small, found.breast):
        array.setflags(write=False)
    return Preparation(
        pixels=prepared,
        inverted=found.inverted,
        mirrored=mirrored,
        chest_wall=chest_wall,
        box=(y0, x0, y1, x1),
        breast_share=found.breast_share,
        search_copy=found.small,
        breast=found.breast,
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


def _to_source(indices: npt.NDArray[np.intp], shown: Shown) -> tuple[int, int]:
    """Half-open range of source pixels under the given ascending rows or columns."""
    # In whole numbers, so that nothing is rounded on the way.
    unit = shown.coarse * SEARCH_SIZE
    ends = (int(index) * (shown.stop - shown.start) + shown.start * SEARCH_SIZE for index in
            (indices[0], indices[-1] + 1))  # fmt: skip
    first, last = (end * shown.length for end in ends)
    low, high = first // unit, max(-(-last // unit), first // unit + 1)
    return low + shown.outer, high + shown.outer


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
    if high - low < SMALLEST_CONTRAST / 10:
        raise NoBreastError("What stands out from the background has no structure.")
    bins = np.clip((stretched - low) * (_RANK_BINS / (high - low)), 0, _RANK_BINS - 1)
    bins = bins.astype(np.int32)
    counts = np.bincount(bins[inside], minlength=_RANK_BINS)
    ranks = (np.cumsum(counts) - 0.5 * counts) / values.size
    levels = np.rint(1.0 + 254.0 * ranks).astype(np.uint8)
    return np.where(inside, levels[bins], np.uint8(0))
