"""Detect JPEG files whose compressed data are damaged.

Pillow and imagecodecs decode such data to the end and discard libjpeg's warnings. This module
decodes them again, at an eighth of the size, which takes a small part of the time of full decoding.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import simplejpeg

from mammoscope.errors import CorruptImageError
from mammoscope.imaging.jpeg_segments import SCAN, TABLES, huffman_tables, segments

DAMAGED: Final = (
    "The JPEG's compressed data are damaged; part of the image may be displaced or missing."
)

_CORRUPT: Final = (
    "Corrupt JPEG data",
    "Invalid JPEG file structure",
    "Unsupported marker type",
)
_DECODED: Final = "extraneous bytes before marker"
_TOO_SHORT: Final = "premature end of data segment"
"""Start of libjpeg's messages about damage, the warning after which decoding was complete, and the
one if bits are missing."""

_BLANK_RUN: Final = bytes(12)
"""Zeros that would be 20 or more equal coefficients in a row; thousands of files had at most 7."""

_BASELINE: Final = {0xC0, 0xC1}
_PROGRESSIVE: Final = 0xC2
_TWELVE_BITS: Final = 12
_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""The end of a scan: a marker that is no stuffed byte, filler or restart (ITU-T T.81 B.1.1)."""


class _Scan(NamedTuple):
    """Where a scan's coded data lie, and how to read zeros in them."""

    begin: int
    end: int
    frame: int
    precision_at: int
    spectral_start: int
    first_symbols: frozenset[int]


class Thumbnail(NamedTuple):
    """What an eighth of a JPEG's size shows.

    Parameters
    ----------
    complaint
        What libjpeg says of the data, or an empty text.
    is_grey
        Whether a JPEG of three components has no colour.
    """

    complaint: str
    is_grey: bool = False


def thumbnail(data: bytes, layout: str = "L") -> Thumbnail:
    """Decode a JPEG of 8 bits at an eighth of its size; `layout` is Pillow's name of its mode."""
    if layout == "RGB":
        with suppress(ValueError):
            colours = _decode(data, "RGB")
            return Thumbnail("", is_grey=bool((colours == colours[..., :1]).all()))
        # libjpeg's message about the grey image is the one that counts.
    try:
        _decode(data, "CMYK" if layout == "CMYK" else "GRAY")
    except ValueError as err:
        return Thumbnail(str(err))
    return Thumbnail("")


def damage(data: bytes, layout: str = "L", *, seen: Thumbnail | None = None) -> tuple[str, ...]:
    """Return warnings about a JPEG of 8 or 12 bits that was decoded; none if it is intact.

    Parameters
    ----------
    data, layout, seen
        Arguments of `thumbnail`, and its result if it is known.

    Raises
    ------
    CorruptImageError
        If the data end, become invalid before the whole image is decoded, or were blanked out, so
        that part of the image is missing or displaced.
    """
    scans = list(_scans(data))
    if any(_has_blank_run(data, scan) for scan in scans):
        raise CorruptImageError(DAMAGED)
    if scans and data[scans[-1].precision_at] == _TWELVE_BITS:
        # simplejpeg decodes 8 bits only. The coded data have the same syntax (F.1.2.1, F.1.2.2).
        at = scans[-1].precision_at
        data = data[:at] + b"\x08" + data[at + 1 :]
    said = (seen or thumbnail(data, layout)).complaint
    if not said:
        return (DAMAGED,) if scans and _has_data_left(data, scans[-1], layout) else ()
    if not said.startswith(_CORRUPT):
        return ()  # a warning about markers, or a layout that simplejpeg does not decode
    if _DECODED in said:
        return (DAMAGED,)
    raise CorruptImageError(DAMAGED)


def _decode(data: bytes, colorspace: str) -> npt.NDArray[np.uint8]:
    """Decode to uint8 (H, W, channels) at an eighth of the size; ValueError says what is wrong."""
    decoded: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
        data, colorspace=colorspace, fastdct=True, fastupsample=True,
        min_height=1, min_width=1, min_factor=8, strict=True,
    )  # fmt: skip
    return decoded


def _has_data_left(data: bytes, scan: _Scan, layout: str) -> bool:
    """Whether the whole image was decoded before the data ended, as after a loss of blocks.

    libjpeg does not mention up to eight bytes that it has read ahead. So the last byte is left out:
    an intact image needs it.
    """
    if scan.frame not in _BASELINE:
        return False
    coded = data[: scan.end].rstrip(b"\xff")
    shorter = coded.removesuffix(b"\xff\0") if coded.endswith(b"\xff\0") else coded[:-1]
    # Without colours: only the message counts.
    layout = "CMYK" if layout == "CMYK" else "L"
    return _TOO_SHORT not in thumbnail(shorter + data[scan.end :], layout).complaint


def _has_blank_run(data: bytes, scan: _Scan) -> bool:
    """Whether a scan contains more zeros than an image can produce.

    Decoders often resynchronise after such a gap and notice nothing. Zeros encode the first symbol
    of a table (ITU-T T.81 C.2). In a baseline scan, they are flat blocks if that symbol is the end
    of a block, else the smallest coefficients only. A progressive scan of AC coefficients (G.1.2.2)
    counts flat blocks instead of listing them.
    """
    is_listed = scan.frame in _BASELINE and bool(scan.first_symbols - {0})
    is_counted = scan.frame == _PROGRESSIVE and scan.spectral_start > 0
    return (is_listed or is_counted) and data.find(_BLANK_RUN, scan.begin, scan.end) >= 0


def _scans(data: bytes) -> Iterator[_Scan]:
    frame = precision_at = 0
    first: set[int] = set()
    left = segments(data)
    while (segment := next(left, None)) is not None:
        marker, begin, end = segment
        if marker in _BASELINE or marker == _PROGRESSIVE:
            frame, precision_at = marker, begin  # B.2.2
        elif marker == TABLES:
            tables = huffman_tables(data[begin:end])
            first |= {
                min(codes, key=codes.__getitem__)
                for name, codes in tables.items()
                if name >> 4 and codes
            }
        elif marker == SCAN:
            found = _MARKER.search(data, end)
            after = found.start() if found else len(data)
            spectral_start = int.from_bytes(data[begin:end][-3:-2], "big")  # Ss, B.2.3
            yield _Scan(end, after, frame, precision_at, spectral_start, frozenset(first))
            left = segments(data, after)
