"""Convert stored values to displayed grey values: DICOM PS3.4 N.2, PS3.3 C.11.

The steps are modality LUT or rescale, then VOI LUT or window, then MONOCHROME1. Each acts on one
value at a time, so they are composed into a single table with one lookup per pixel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mammoscope.imaging.arrays import FloatArray, Grey, Mask, Words
from mammoscope.imaging.dicom.frames import Frame, Layout
from mammoscope.imaging.dicom.header import Header
from mammoscope.imaging.grey_range import on_occupied_range

_STRIP_PIXELS: Final = 1 << 17
"""Pixels per lookup step: few enough that their indices, 8 bytes each, stay in the processor's
cache."""


_ROWS_COMPARED: Final = 128

_SMOOTHER: Final = 1.05
"""How many times more the object's values must jump than those of its compressed data for the
object's sign to count as wrong. The ratio is 1 if no value wraps around, and below 1 if the object
is right."""

_BLANK: Final = 0.02
"""Range of grey values below which an image shows nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class _LookUpTable:
    """An item of a LUT sequence; ``first`` is the input value of the first entry."""

    first: float
    entries: FloatArray

    def __call__(self, inputs: FloatArray) -> FloatArray:
        """Look up inputs float64 (N,); inputs beyond the table get its first or last entry."""
        index = np.clip(np.rint(inputs - self.first), 0, self.entries.size - 1)
        return np.asarray(self.entries[index.astype(np.int64)])


def displayed(
    frame: Frame, header: Header, layout: Layout, factor: int
) -> tuple[Grey, tuple[str, ...]]:
    """Look up grey values, and shrink by the part of `factor` that the codec has not applied.

    Parameters
    ----------
    frame
        Decoded words.
    header
        Source of modality LUT, VOI LUT or window, photometric interpretation, padding.
    layout
        Bit layout of the stored values.
    factor
        Number of pixels of the image, along each side, per pixel of the result.

    Returns
    -------
    pixels
        float32 (H, W) in [0, 1], in the sense of MONOCHROME2; padding is 0.
    warnings
        Display elements that could not be used, in words.
    """
    notes = [*frame.warnings]
    shrinking = max(1, factor // frame.reduction)
    values = frame.values
    if frame.otherwise is not None and _jumps(frame.words, values) > _SMOOTHER * _jumps(
        frame.words, frame.otherwise
    ):
        values = frame.otherwise
    pixels = _looked_up(frame.words, _table_of(frame, values, header, layout, notes), shrinking)
    if frame.otherwise is not None and values is frame.values and np.ptp(pixels) < _BLANK:
        table = _table_of(frame, frame.otherwise, header, layout, [])
        pixels = _looked_up(frame.words, table, shrinking)
    return on_occupied_range(pixels), tuple(notes)


def _jumps(words: Words, values: npt.NDArray[np.int32]) -> float:
    """Mean difference of neighbours in a row; large if signs wrap around within the breast."""
    rows = words[:: max(1, len(words) // _ROWS_COMPARED)]
    return float(np.abs(np.diff(values[rows], axis=1)).mean()) if rows.shape[1] > 1 else 0.0


def _table_of(
    frame: Frame,
    stored: npt.NDArray[np.int32],
    header: Header,
    layout: Layout,
    notes: list[str],
) -> Grey:
    """Return the grey value, float32 in [0, 1], of each word with the stored values `stored`."""
    padding = _padding(stored, header, layout)
    values = _modality(stored.astype(np.float64), header, layout, notes)

    def occurring() -> FloatArray:
        used = _used(frame)
        return values[used & ~padding] if (used & ~padding).any() else values

    grey = _value_of_interest(values, occurring, header, notes)
    if grey is None:
        seen = occurring()
        low, high = float(seen.min()), float(seen.max())
        grey = (values - low) / max(high - low, 1e-12)
    grey = np.clip(grey, 0.0, 1.0)
    if header.text("PhotometricInterpretation") == "MONOCHROME1":
        grey = 1.0 - grey
    grey[padding] = 0.0
    return grey.astype(np.float32)


def _looked_up(words: Words, table: Grey, factor: int) -> Grey:
    """Grey values float32 (H // factor, W // factor), each a mean of `factor` x `factor`."""
    height, width = (side // factor for side in words.shape)
    pixels = np.empty((height, width), np.float32)
    step = max(1, _STRIP_PIXELS // (words.shape[1] * factor))
    for top in range(0, height, step):
        bottom = min(top + step, height)
        strip = words[top * factor : bottom * factor, : width * factor]
        if factor == 1:
            np.take(table, strip, out=pixels[top:bottom], mode="clip")
        else:
            cv2.resize(
                table[strip],
                (width, bottom - top),
                dst=pixels[top:bottom],
                interpolation=cv2.INTER_AREA,
            )
    return pixels


def _modality(values: FloatArray, header: Header, layout: Layout, notes: list[str]) -> FloatArray:
    for item in header.items("ModalityLUTSequence"):
        if table := _table(item, signed=layout.signed):
            return table(values)
        notes.append("The DICOM object's modality LUT is malformed and was ignored.")
    slope, intercept = header.number("RescaleSlope"), header.number("RescaleIntercept")
    for keyword, number in (("RescaleSlope", slope), ("RescaleIntercept", intercept)):
        if (number is None and any(header.texts(keyword))) or number == slope == 0:
            notes.append("The DICOM object's rescale is malformed and was ignored.")
            return values
    return values * (1.0 if slope is None else slope) + (intercept or 0.0)


def _value_of_interest(
    values: FloatArray, occurring: Callable[[], FloatArray], header: Header, notes: list[str]
) -> FloatArray | None:
    """Apply the first usable VOI LUT or window; None if there is none.

    Parameters
    ----------
    values
        float64 (N,): the modality output for each word.
    occurring
        The values of words that occur in the image and are not padding.
    """
    # The descriptor's second number is signed if the modality output is: PS3.3 C.11.2.1.1.
    signed = bool(values.min() < 0)
    for item in header.items("VOILUTSequence"):
        table = _table(item, signed=signed)
        if table is not None and np.ptp(table(occurring())) > 0:
            low, high = float(table.entries.min()), float(table.entries.max())
            return (table(values) - low) / max(high - low, 1.0)
        notes.append("The DICOM object's VOI LUT is malformed and was ignored.")
    centres, widths = header.decimals("WindowCenter"), header.decimals("WindowWidth")
    function = header.text("VOILUTFunction")
    smallest = 1e-6 if function in ("SIGMOID", "LINEAR_EXACT") else 1.0
    for centre, width in zip(centres, widths, strict=False):
        if centre is not None and width is not None and width >= smallest:
            return _windowed(values, centre, width, function)
    if centres or widths:
        notes.append("The DICOM object's window is malformed and was ignored.")
    return None


def _windowed(values: FloatArray, centre: float, width: float, function: str) -> FloatArray:
    """Apply a window, PS3.3 C.11.2.1.2 and C.11.2.1.3; the caller clips to [0, 1]."""
    if function == "SIGMOID":
        # Clipping prevents overflow of exp, and 1 / (1 + exp(50)) is 0 anyway.
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -50.0, 50.0)))
    if function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    if width == 1.0:
        return np.where(values > centre - 0.5, 1.0, 0.0)
    return (values - (centre - 0.5)) / (width - 1.0) + 0.5


def _table(item: Header, *, signed: bool) -> _LookUpTable | None:
    descriptor = item.numbers("LUTDescriptor")
    if len(descriptor) != 3:
        return None
    entries, first, bits = descriptor
    # A table of 65,536 entries does not fit the element and is written as 0.
    count = int(entries) % 65_536 or 65_536
    if signed and first >= 32_768:
        first -= 65_536
    elif not signed and first < 0:
        first += 65_536
    words = item.words("LUTData", count, in_bytes=bits <= 8)
    return None if words is None else _LookUpTable(first, words.astype(np.float64))


def _padding(stored: npt.NDArray[np.int32], header: Header, layout: Layout) -> Mask:
    """Mask of padding words, (0028,0120) and (0028,0121): bool, like `stored`."""
    value = header.number("PixelPaddingValue", signed=layout.signed)
    if value is None:
        return np.zeros(stored.shape, np.bool_)
    limit = header.number("PixelPaddingRangeLimit", signed=layout.signed)
    low, high = sorted((value, value if limit is None else limit))
    return np.asarray((stored >= low) & (stored <= high))


def _used(frame: Frame) -> Mask:
    """Mask of the words that occur in the frame: bool, like `frame.values`."""
    counts = np.zeros(frame.values.size, np.float32)
    step = max(1, _STRIP_PIXELS // frame.words.shape[1])
    kind = np.uint8 if frame.words.dtype.itemsize == 1 else np.uint16
    for top in range(0, len(frame.words), step):
        strip: npt.NDArray[Any] = np.ascontiguousarray(frame.words[top : top + step], kind)
        counts += cv2.calcHist([strip], [0], None, [counts.size], [0, counts.size]).reshape(-1)
    return np.asarray(counts > 0)
