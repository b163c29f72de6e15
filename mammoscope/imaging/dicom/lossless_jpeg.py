"""Detect lossless JPEG whose compressed data are damaged.

Decoders lose their place in damaged data, find it again, and report nothing; everything below is
displaced or has other grey values. But then they have read more or fewer bits than there are. The
decoded samples tell how many bits they take.
"""

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mammoscope.errors import CorruptImageError
from mammoscope.imaging.arrays import Words
from mammoscope.imaging.jpeg_segments import SCAN, TABLES, huffman_tables, segments

_FILL: Final = 0xFF
_FRAME: Final = 0xC3
_RESTART_INTERVAL: Final = 0xDD
_END: Final = b"\xff\xd9"
_RESTART: Final = re.compile(rb"\xff[\xd0-\xd7]")
"""Markers of ITU-T T.81 table B.1."""

_LARGEST: Final = 16
"""Category of the difference 32768, which takes no further bits (table H.2)."""

_Samples = npt.NDArray[np.integer[Any]]

_PREDICTORS: Final[Mapping[int, Callable[[_Samples, _Samples, _Samples], _Samples]]] = {
    1: lambda a, _b, _c: a,
    2: lambda _a, b, _c: b,
    3: lambda _a, _b, c: c,
    4: lambda a, b, c: a + b - c,
    5: lambda a, b, c: a + ((b - c) >> 1),
    6: lambda a, b, c: b + ((a - c) >> 1),
    7: lambda a, b, _c: (a + b) >> 1,
}
"""Predict from the samples to the left, above, and above to the left; table H.1."""
_LAST_MODULO: Final = 4
"""Predictors up to this one may be computed modulo 65536."""

_BYTE: Final = 8
_BAND: Final = 128
"""Rows at a time: their differences fit into a processor's cache."""

_DAMAGED: Final = (
    "The DICOM file's lossless JPEG data are damaged; part of the image would be displaced."
)


@dataclass(frozen=True, slots=True)
class _Coding:
    """A scan of one component.

    Parameters
    ----------
    precision, point_transform
        In bits.
    predictor
        1 to 7, as in table H.1.
    restart_interval
        In samples; 0 if there is none.
    code_lengths
        By category, in bits.
    data
        Coded, with stuffed bytes and restart markers.
    """

    precision: int
    point_transform: int
    predictor: int
    restart_interval: int
    code_lengths: Mapping[int, int]
    data: bytes


def require_intact(data: bytes, samples: Words) -> None:
    """Refuse lossless JPEG whose coded data are longer or shorter than its samples need.

    Parameters
    ----------
    data
        From start to end of image, with one component.
    samples
        uint8 or uint16 (H, W), as decoded.

    Raises
    ------
    CorruptImageError
        If so, or a sample has more bits than the frame header says.
    """
    coding = _coding(data)
    rows_apart, remainder = divmod(coding.restart_interval, samples.shape[1])
    if remainder:
        return  # H.1.1 does not allow it, and decoders differ in what they make of it
    starts = np.zeros(len(samples), bool)
    starts[:: rows_apart or len(samples)] = True
    needed = _bits(_counts(samples, coding, starts), coding.code_lengths)
    # Each FF has a byte of zeros behind it, or makes a marker with the byte that follows.
    restarts = len(_RESTART.findall(coding.data)) if rows_apart else 0
    present = _BYTE * (len(coding.data) - coding.data.count(_FILL) - restarts)
    # Each interval is filled up to a whole byte.
    if not 0 <= present - needed < _BYTE * starts.sum() or samples.max() >> coding.precision:
        raise CorruptImageError(_DAMAGED)


def _coding(data: bytes) -> _Coding:
    precision = restart_interval = 0
    tables: dict[int, Mapping[int, int]] = {}
    try:
        for marker, begin, end in segments(data):
            content = data[begin:end]
            if marker == _FRAME:
                precision = content[0]
            elif marker == TABLES:
                tables |= huffman_tables(content)
            elif marker == _RESTART_INTERVAL:
                (restart_interval,) = struct.unpack(">H", content)
            elif marker == SCAN:
                _, _, table, predictor, _, transform = struct.unpack(">6B", content)
                if predictor not in _PREDICTORS:
                    break
                return _Coding(
                    precision,
                    transform & 15,
                    predictor,
                    restart_interval,
                    tables[table >> 4],
                    data[end : -len(_END)].rstrip(b"\xff"),
                )
    except (IndexError, KeyError, struct.error) as err:
        raise CorruptImageError(_DAMAGED) from err
    raise CorruptImageError(_DAMAGED)


def _bits(counts: npt.NDArray[np.int64], code_lengths: Mapping[int, int]) -> int:
    """Return the number of bits that differences take (H.1.2.1); -1 if one of them has no code."""
    sizes = np.abs(np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int32))
    categories = np.ceil(np.log2(sizes + 1.0)).astype(np.int32)
    total = 0
    for category, count in enumerate(np.bincount(categories, counts)):
        if count and category not in code_lengths:
            return -1
        if count:
            further = category if category < _LARGEST else 0
            total += int(count) * (code_lengths[category] + further)
    return total


def _counts(
    samples: Words, coding: _Coding, starts: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Count the differences from predictions, modulo 65536, in bands of rows."""
    counts = np.zeros(1 << 16, np.int64)
    predict = _PREDICTORS[coding.predictor]
    dtype = np.uint16 if coding.predictor <= _LAST_MODULO else np.int32
    for top in range(0, len(samples), _BAND):
        rows: _Samples = samples[max(top - 1, 0) : top + _BAND].astype(dtype, copy=False)
        if coding.point_transform:
            rows = rows >> coding.point_transform
        if top == 0:
            rows = np.concatenate([rows[:1], rows])
        band, above = rows[1:], rows[:-1]
        differences = np.empty_like(band)
        np.subtract(band[:, 0], above[:, 0], out=differences[:, 0])
        predicted = predict(band[:, :-1], above[:, 1:], above[:, :-1])
        np.subtract(band[:, 1:], predicted, out=differences[:, 1:])
        first = starts[top : top + _BAND]
        differences[first, 0] = band[first, 0] - dtype(
            1 << (coding.precision - coding.point_transform - 1)
        )
        differences[first, 1:] = band[first, 1:] - band[first, :-1]
        wrapped = differences.astype(np.uint16, copy=False)
        histogram = cv2.calcHist([wrapped], [0], None, [1 << 16], [0, 1 << 16])
        counts += histogram.ravel().astype(np.int64)
    return counts
