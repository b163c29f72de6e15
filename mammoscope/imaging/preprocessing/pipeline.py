"""The preprocessing of training, evaluation and service: from `Mammogram` to network input.

The steps are: undo inversion, find the breast, remove everything outside it, crop, turn the chest
wall to the left, normalise, stretch to a fixed box. The search uses a small square copy, so that
the result does not depend on the aspect ratio or resolution of the export.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from mammoscope.imaging.arrays import Grey, Mask, Pixels
from mammoscope.imaging.mammogram import Mammogram, reduction_for, shrink
from mammoscope.imaging.preprocessing.breast import (
    SEARCH_SIZE,
    Found,
    Shown,
    seek,
    without_annotations,
)
from mammoscope.imaging.preprocessing.channels import contrast, ranks, window
from mammoscope.imaging.preprocessing.outline import chest_wall_of
from mammoscope.imaging.preprocessing.resampling import Ends, resampled
from mammoscope.settings.channels import ChannelsName

_DETECTOR_SIDE: Final = 1200
"""Minimum side in pixels of an image treated as a detector's; the smallest in use have 1914 x 2294.
Annotations are removed from such images before the search. They are kept in smaller images, because
networks were trained on crops of 640 x 640 exports that annotations influenced."""

_PASSED: Final = 0.001
"""Share of the breast from which its end is extrapolated. At the very end of a mask, a few pixels
decide, and these differ between copies of an image. A thousandth of the breast has many pixels."""

_ROUND: Final = 1.0 / (2.0 ** (2.0 / 3.0) - 1.0)
"""Ratio of the depth of the end part to the depth that as much area adds next, for a round outline.
There, area grows with depth to the power of 3/2."""

_LOW_PASS: Final = np.array([0.25, 0.5, 0.25])
"""Binomial. The finest grain of an image read at a reduced size depends on the codec."""

_GREY: Final = 2
"""Axes of an array without channels."""

_DILATION: Final = 5
"""Side of the dilation, in search pixels, that restores the skin line."""


@dataclass(frozen=True, slots=True, eq=False)
class Preprocessed:
    """A network input, and how it was cut from the image.

    Parameters
    ----------
    pixels
        uint8 (H, W), or (H, W, 3) of three channels, read-only: the breast stretched to the whole
        box, chest wall on the left, dense tissue bright, 0 outside the breast.
    inverted
        Whether the image had a bright background and was inverted.
    mirrored
        Whether the image was mirrored left to right.
    chest_wall
        Side of the source image with the chest wall.
    box
        Smallest box (top, left, bottom, right) of whole mammogram pixels, half-open, that contains
        the crop. The crop's own edges lie at fractions of pixels.
    breast_share
        Share of the source image that the breast covers, in (0, 1].
    search_copy
        float32 (S, S) in [0, 1], read-only: the image without padding, stretched to a small square
        and to the full range, dense tissue bright; used to find the breast.
    breast
        bool (S, S), read-only: the breast on the search copy.
    """

    pixels: npt.NDArray[np.uint8]
    inverted: bool
    mirrored: bool
    chest_wall: Literal["left", "right"]
    box: tuple[int, int, int, int]
    breast_share: float
    search_copy: Grey
    breast: Mask

    @property
    def ranks(self) -> Pixels:
        """The channel of ranks alone, uint8 (H, W)."""
        return self.pixels if self.pixels.ndim == _GREY else self.pixels[..., 0]


def pixels_shape(size: tuple[int, int], channels: ChannelsName) -> tuple[int, ...]:
    """Return the shape of the pixels made by `preprocess`: `size`, or (H, W, 3)."""
    return (*size, 3) if channels == "three" else size


class _Form(NamedTuple):
    """Options of a call of `preprocess`; if `annotated`, the search ignores annotations."""

    size: tuple[int, int]
    crop_to_breast: bool
    channels: ChannelsName
    annotated: bool


def preprocess(
    mammogram: Mammogram,
    size: tuple[int, int],
    *,
    crop_to_breast: bool = True,
    channels: ChannelsName = "ranks",
) -> Preprocessed:
    """Crop an image to the breast and convert it to the network's input.

    Parameters
    ----------
    mammogram
        The image. If its breast, at reduced size, has fewer pixels than the result, the full
        resolution is used, and read again if necessary.
    size
        Height and width of the result in pixels.
    crop_to_breast
        Whether to crop to the breast. False keeps the whole image with its padding, for comparison.
    channels
        Whether the result has only ranks, or three channels: ranks, a linear window and local
        contrast.

    Raises
    ------
    ImageError
        If the image must be read again and that fails.
    NoBreastError
        If nothing in the image could be a breast: the image is blank, or every object is too small.
    """
    pixels, already = mammogram.pixels, mammogram.reduction
    shape = pixels.shape
    source = (shape[0] * already, shape[1] * already)
    factor = reduction_for(source, size)
    # Reduce full images as their reader would have done, so that both give the same result.
    unit = max(1, factor // already)
    less = shrink(pixels, unit)
    form = _Form(size, crop_to_breast, channels, annotated=min(source) >= _DETECTOR_SIDE)
    preprocessed = _preprocess(less, form, reduced=unit * already > 1)
    top, left, bottom, right = preprocessed.box
    if bottom - top >= size[0] and right - left >= size[1]:
        return replace(preprocessed, box=(top * unit, left * unit, bottom * unit, right * unit))
    full = pixels if mammogram.read_fully is None else mammogram.read_fully().pixels
    if full.shape == less.shape:
        return preprocessed
    fully = _preprocess(full, form, reduced=False)
    return replace(fully, box=_scaled_box(fully.box, full.shape, shape))


def _preprocess(source: Grey, form: _Form, *, reduced: bool) -> Preprocessed:
    size, crop_to_breast = form.size, form.crop_to_breast
    found = seek(source, size, whole=not crop_to_breast)
    refined = found
    if crop_to_breast and form.annotated:
        refined = seek(without_annotations(source, found), size, inverted=found.inverted)
    breast = refined.breast
    chest_wall = chest_wall_of(breast)
    rows = columns = (0.0, float(SEARCH_SIZE))
    if crop_to_breast:
        rows, columns = (_extent(breast.sum(axis=axis)) for axis in (1, 0))
    content = source[_unpadded(refined.rows), _unpadded(refined.columns)]
    if reduced:
        content = _without_grain(content)
    ends = (*_to_source(rows, refined.rows), *_to_source(columns, refined.columns))
    stretched = resampled(content, ends, size)
    inside = _stretched_mask(breast, (*rows, *columns), size)
    if found.inverted:
        stretched = 1.0 - stretched
    mirrored = chest_wall == "right"
    if mirrored:
        stretched = np.ascontiguousarray(stretched[:, ::-1])
        inside = np.ascontiguousarray(inside[:, ::-1])
    preprocessed = ranks(stretched, inside)
    if form.channels == "three":
        others = (window(stretched, inside), contrast(stretched, inside))
        preprocessed = np.asarray(cv2.merge([preprocessed, *others]), np.uint8)
    for array in (preprocessed, found.small, found.breast):
        array.setflags(write=False)
    return Preprocessed(
        pixels=preprocessed,
        inverted=found.inverted,
        mirrored=mirrored,
        chest_wall=chest_wall,
        box=_covering(ends, refined),
        breast_share=found.breast_share,
        search_copy=found.small,
        breast=found.breast,
    )


def _scaled_box(
    box: tuple[int, int, int, int], source: tuple[int, ...], target: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """Scale `box` from an image of size `source` to one of size `target`, rounding outwards."""
    top, left, bottom, right = box
    (height, width), (rows, columns) = target, source
    return (
        top * height // rows,
        left * width // columns,
        -(-bottom * height // rows),
        -(-right * width // columns),
    )


def _extent(counts: npt.NDArray[np.integer[Any]]) -> tuple[float, float]:
    """Start and end of the breast in search pixels.

    Parameters
    ----------
    counts
        Number of breast pixels in each row or column.
    """
    passed = np.concatenate([[0], np.cumsum(counts)]) / counts.sum()
    shares = (_PASSED, 2 * _PASSED, 1.0 - 2 * _PASSED, 1.0 - _PASSED)
    low, lower, upper, high = np.interp(shares, passed, np.arange(passed.size))
    begin, end = low - _ROUND * (lower - low), high + _ROUND * (high - upper)
    return max(float(begin), 0.0), min(float(end), float(counts.size))


def _unpadded(shown: Shown) -> slice:
    return slice(shown.outer, shown.outer + shown.length)


def _to_source(extent: tuple[float, float], shown: Shown) -> tuple[float, float]:
    """Map a range of search pixels to the image without its padding."""
    low, high = (shown.origin + end * shown.each for end in extent)
    return max(low, 0.0), min(high, float(shown.length))


def _covering(ends: Ends, found: Found) -> tuple[int, int, int, int]:
    """Smallest box (top, left, bottom, right) of the image's pixels that contains `ends`."""
    (top, bottom, left, right), (rows, columns) = ends, (found.rows.outer, found.columns.outer)
    return (
        rows + math.floor(top),
        columns + math.floor(left),
        rows + math.ceil(bottom),
        columns + math.ceil(right),
    )


def _without_grain(image: Grey) -> Grey:
    kept = cv2.sepFilter2D(image, -1, _LOW_PASS, _LOW_PASS, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(kept, np.float32)


def _stretched_mask(breast: Mask, ends: Ends, size: tuple[int, int]) -> Mask:
    """Return the breast with its skin line, cropped and stretched like the image: bool (H, W)."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_DILATION, _DILATION))
    wide = cv2.dilate(breast.astype(np.uint8), kernel).astype(np.float32)
    return resampled(wide, ends, size) > 0.5
