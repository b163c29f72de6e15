"""Detect PNG files whose image data are damaged.

Pillow does not compare the checksums of image data, and zlib's own comes after the last row.
"""

import zlib
from collections.abc import Iterator
from typing import Final

from mammoscope.errors import CorruptImageError

_SIGNATURE_BYTES: Final = 8
_IMAGE_DATA: Final = b"IDAT"


def require_intact(data: bytes) -> None:
    """Refuse a PNG if the checksum of an image data chunk is wrong.

    Raises
    ------
    CorruptImageError
        If so. The damage may have changed any row after it.

    References
    ----------
    ISO/IEC 15948 5.3 "Chunk layout" and 5.5 "CRC algorithm".
    """
    if any(zlib.crc32(content) != checksum for content, checksum in _image_data(data)):
        raise CorruptImageError("The PNG's image data are damaged: a checksum is wrong.")


def _image_data(data: bytes) -> Iterator[tuple[memoryview, int]]:
    """Yield type and content of each image data chunk, with its checksum."""
    at = _SIGNATURE_BYTES
    view = memoryview(data)
    while at + 8 <= len(data):
        end = at + 8 + int.from_bytes(view[at : at + 4], "big")
        if bytes(view[at + 4 : at + 8]) == _IMAGE_DATA:
            yield view[at + 4 : end], int.from_bytes(view[end : end + 4], "big")
        at = end + 4
