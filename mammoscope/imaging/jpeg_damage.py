"""Detect JPEG files whose compressed data are damaged.

Pillow decodes such data to the end and discards libjpeg's warnings. This module decodes them again,
at an eighth of the size, which takes a small part of the time of full decoding.
"""

import re
from typing import Final

import simplejpeg

from mammoscope.errors import CorruptImageError

DAMAGED: Final = (
    "The JPEG's compressed data are damaged; part of the image may be displaced or missing."
)

_CORRUPT: Final = (
    "Corrupt JPEG data",
    "Invalid JPEG file structure",
    "Unsupported marker type",
)
_DECODED: Final = "extraneous bytes before marker"
"""Start of libjpeg's messages about damage, and the warning after which decoding was complete."""

_BLANK_RUN: Final = bytes(64)
"""More zeros than any block can take, whatever its coefficients."""

_BASELINE: Final = {0xC0, 0xC1}
_PROGRESSIVE: Final = 0xC2
_TABLES: Final = 0xC4
_SCAN: Final = 0xDA
_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""The end of a scan: a marker that is no stuffed byte, filler or restart (ITU-T T.81 B.1.1)."""


def damage(data: bytes, *, cmyk: bool = False) -> tuple[str, ...]:
    """Return warnings about an 8-bit JPEG that Pillow has decoded; none if it is intact.

    Raises
    ------
    CorruptImageError
        If the data end, become invalid before the whole image is decoded, or were blanked out, so
        that part of the image is missing or displaced.
    """
    if _has_blank_run(data):
        raise CorruptImageError(DAMAGED)
    try:
        simplejpeg.decode_jpeg(
            data, colorspace="CMYK" if cmyk else "GRAY", fastdct=True, fastupsample=True,
            min_height=1, min_width=1, min_factor=8, strict=True,
        )  # fmt: skip
    except ValueError as err:
        said = str(err)
    else:
        return ()
    if not said.startswith(_CORRUPT):
        return ()  # a warning about markers, or a layout that simplejpeg does not decode
    if _DECODED in said:
        return (DAMAGED,)
    raise CorruptImageError(DAMAGED)


def _has_blank_run(data: bytes) -> bool:
    """Whether a scan contains more zeros than an image can produce.

    Decoders often resynchronise after such a gap and notice nothing. Zeros encode the first symbol
    of a table (ITU-T T.81 C.2). In a baseline scan, they are flat blocks if that symbol is the end
    of a block, else blocks of the smallest coefficients only. A progressive scan of AC coefficients
    (G.1.2.2) counts flat blocks instead of listing them.
    """
    at, kind = 2, 0
    first: set[int] = set()
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at + 4 : at + 2 + length]
        at += 2 + length
        if marker in _BASELINE or marker == _PROGRESSIVE:
            kind = marker
        elif marker == _TABLES:
            first |= _first_symbols(segment)
        elif marker == _SCAN:
            found = _MARKER.search(data, at)
            end = found.start() if found else len(data)
            is_listed = kind in _BASELINE and bool(first - {0})
            is_counted = kind == _PROGRESSIVE and segment[-3:-2] > b"\0"  # Ss, B.2.3
            if (is_listed or is_counted) and data.find(_BLANK_RUN, at, end) >= 0:
                return True
            at = end
    return False


def _first_symbols(tables: bytes) -> set[int]:
    """First symbols of the AC coefficient tables in a DHT segment (B.2.4.2)."""
    first: set[int] = set()
    at = 0
    while at + 17 < len(tables):
        if tables[at] >> 4 == 1:
            first.add(tables[at + 17])
        at += 17 + sum(tables[at + 1 : at + 17])
    return first
