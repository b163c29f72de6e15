"""Walk through the segments of JPEG and JPEG-LS data, without decoding them."""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

SCAN: Final = 0xDA
TABLES: Final = 0xC4
"""Markers of a scan and of Huffman tables: ITU-T T.81 table B.1."""

_FILL: Final = 0xFF
_FIRST: Final = 2
"""Offset of the first segment, behind the start of image."""


def segments(data: bytes, at: int = _FIRST) -> Iterator[tuple[int, int, int]]:
    """Yield marker, begin and end of the content of each segment, the last that of a scan's header.

    Parameters
    ----------
    data
        From the start of the image.
    at
        Offset of the first marker.
    """
    while at + 4 <= len(data) and data[at] == _FILL:
        marker = data[at + 1]
        if marker == _FILL:
            at += 1
            continue
        begin, end = at + 4, at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end < begin:
            return
        yield marker, begin, end
        if marker == SCAN:
            return
        at = end


def huffman_tables(content: bytes) -> Mapping[int, Mapping[int, int]]:
    """Return the code lengths of each table's symbols, shortest first (B.2.4.2).

    Tables are named by class, in the upper four bits, and number.
    """
    tables = {}
    at = 0
    while at < len(content):
        counts = content[at + 1 : at + 17]
        symbols = content[at + 17 : at + 17 + sum(counts)]
        lengths = np.repeat(np.arange(1, len(counts) + 1), list(counts))
        tables[content[at]] = dict(zip(symbols, lengths.tolist(), strict=False))
        at += 17 + sum(counts)
    return tables
