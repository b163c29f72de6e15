"""Parse the headers of compressed images before decoding them."""

import struct
from dataclasses import dataclass
from typing import Final

from mammoscope.errors import CorruptImageError
from mammoscope.imaging.jpeg_segments import segments

# ITU-T T.81 table B.1: DCT-based and lossless frames; the other codes are not frame headers.
_FRAMES: Final = {0xC0, 0xC1, 0xC2, 0xC3}
_LOSSLESS: Final = 0xC3
_JPEG_LS: Final = 0xF7  # ITU-T T.87 C.1.1
_FRAME_BYTES: Final = 9
"""Least content of a frame header: of one component (ITU-T T.81 B.2.2)."""
_END: Final = b"\xff\xd9"

_START_OF_CODESTREAM: Final = b"\xff\x4f\xff\x51"  # ITU-T T.800 A.4.1, A.5.1
_CODING_STYLE: Final = 0xFF52
_REVERSIBLE: Final = 1  # table A.20
_LONGEST_CONTAINER: Final = 4096


@dataclass(frozen=True, slots=True)
class Codestream:
    """Facts from a compressed image's header.

    ``precision`` is in bits per sample. ``levels`` is the number of resolutions that can be left
    out; ``reversible`` tells whether they come from JPEG 2000's 5-3 wavelet.
    """

    rows: int
    columns: int
    components: int
    precision: int
    lossless: bool = False
    signed: bool = False
    levels: int = 0
    reversible: bool = True


def without_padding(data: bytes) -> bytes:
    """Return JPEG or JPEG-LS data up to the end of image; PS3.5 A.4 allows padding after it.

    Raises
    ------
    CorruptImageError
        If there is no end of image.
    """
    end = data.rfind(_END)
    if end < 0:
        raise CorruptImageError("The DICOM file's JPEG data are truncated.")
    return data[: end + len(_END)]


def jpeg_header(data: bytes) -> Codestream:
    """Read the frame header of JPEG or JPEG-LS.

    Raises
    ------
    CorruptImageError
        If there is none, or the data are truncated.
    """
    if not data.startswith(b"\xff\xd8"):
        raise CorruptImageError("The DICOM file's JPEG data do not start with a JPEG marker.")
    for marker, begin, end in segments(data):
        if marker in _FRAMES or marker == _JPEG_LS:
            if end - begin < _FRAME_BYTES or begin + _FRAME_BYTES > len(data):
                break
            precision, rows, columns, components = struct.unpack_from(">BHHB", data, begin)
            return Codestream(rows, columns, components, precision, lossless=marker == _LOSSLESS)
    raise CorruptImageError("The DICOM file's JPEG data have no readable frame header.")


def jpeg_2000_header(data: bytes) -> Codestream:
    """Read the main header of a JPEG 2000 codestream, with or without a container.

    Raises
    ------
    CorruptImageError
        If there is none.
    """
    start = data.find(_START_OF_CODESTREAM, 0, _LONGEST_CONTAINER)
    try:
        if start < 0:
            raise CorruptImageError("The DICOM file's JPEG 2000 data have no readable header.")
        length, _, right, bottom, left, top = struct.unpack_from(">HHIIII", data, start + 4)
        components, depth = struct.unpack_from(">HB", data, start + 40)
        levels, reversible = _wavelet(data, start + 4 + length)
        return Codestream(
            rows=bottom - top,
            columns=right - left,
            components=components,
            precision=(depth & 0x7F) + 1,
            signed=bool(depth & 0x80),
            levels=levels,
            reversible=reversible,
        )
    except struct.error as err:
        raise CorruptImageError("The DICOM file's JPEG 2000 data are truncated.") from err


def _wavelet(data: bytes, at: int) -> tuple[int, bool]:
    """Decomposition levels of the default coding style (0 if not found), and whether it is 5-3."""
    while at + 14 <= len(data):
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == _CODING_STYLE:
            return min(data[at + 9], 32), data[at + 13] == _REVERSIBLE
        if marker < 0xFF50 or marker == 0xFF90 or length < 2:
            break
        at += 2 + length
    return 0, True
