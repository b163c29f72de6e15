"""Detect TIFF files whose compressed data are damaged.

libtiff decodes such data as far as it can and prints what it notices; Pillow returns the rest.
"""

import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mammoscope.errors import CorruptImageError
from mammoscope.imaging.jpeg_damage import damage as jpeg_damage

# TIFF 6.0 and its supplements 1 and 2: tags and values.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PLANAR = 256, 257, 258, 259, 284
_STRIPS: Final = (273, 279)
_ROWS_PER_STRIP: Final = 278
_TILES: Final = (324, 325)
_TILE_SIZE: Final = (322, 323)
_JPEG_TABLES: Final = 347
_JPEG: Final = 7
_DEFLATE: Final = (8, 32946)
_PACKED: Final = 32773

_DAMAGED: Final = "The TIFF's compressed data are damaged."
_BLOCK_BYTES: Final = 1 << 20


def damage(data: bytes, tags: Mapping[int, Any]) -> tuple[str, ...]:
    """Return warnings about a TIFF that Pillow has decoded; none if it looks intact.

    LZW and uncompressed data have no checksum, so their damage cannot be told from an image.

    Parameters
    ----------
    data
        The file.
    tags
        Tags of its first page.

    Raises
    ------
    CorruptImageError
        If part of the image is missing or displaced.
    """
    compression = tags.get(_COMPRESSION)
    found: list[str] = []
    for number, part in enumerate(_parts(data, tags)):
        if compression == _JPEG:
            tables = bytes(tags.get(_JPEG_TABLES, b""))
            # Both have markers of start and end.
            found += jpeg_damage(tables[:-2] + part[2:] if tables else part)
        elif compression in _DEFLATE:
            _inflate(part, _part_bytes(tags, number))
        elif compression == _PACKED:
            _unpack(part, _part_bytes(tags, number))
    return tuple(dict.fromkeys(found))


def _parts(data: bytes, tags: Mapping[int, Any]) -> Iterator[bytes]:
    """Yield the compressed strips or tiles."""
    offsets, counts = (tags.get(tag, ()) for tag in (_TILES if _TILES[0] in tags else _STRIPS))
    for offset, count in zip(offsets, counts, strict=False):
        yield data[offset : offset + count]


def _part_bytes(tags: Mapping[int, Any], number: int) -> int:
    """Size of a decoded strip or tile in bytes; samples of colours may have parts of their own."""
    samples = len(tags[_BITS]) if int(tags.get(_PLANAR, 1)) == 1 else 1
    bits = samples * int(tags[_BITS][0])
    if _TILES[0] in tags:
        width, rows = (int(tags[tag]) for tag in _TILE_SIZE)
    else:
        width, height = int(tags[_WIDTH]), int(tags[_HEIGHT])
        per_strip = min(int(tags.get(_ROWS_PER_STRIP, height)), height)
        first = number * per_strip % (-(-height // per_strip) * per_strip)
        rows = min(per_strip, height - first)
    return rows * -(-width * bits // 8)


def _inflate(part: bytes, size: int) -> None:
    """Refuse a part that does not decompress to its size, or whose checksum is wrong."""
    stream = zlib.decompressobj()
    length = 0
    try:
        while not stream.eof and length <= size:
            block = stream.decompress(part, _BLOCK_BYTES)
            if not block and not stream.eof:
                break
            length += len(block)
            part = stream.unconsumed_tail
    except zlib.error as err:
        raise CorruptImageError(_DAMAGED) from err
    if length < size or (length == size and not stream.eof):
        raise CorruptImageError(_DAMAGED)


def _unpack(part: bytes, size: int) -> None:
    """Refuse a part that does not unpack to its size, or to one byte more as padding."""
    import imagecodecs  # takes a moment, and such files are rare

    try:
        length = len(imagecodecs.packbits_decode(part))
    except imagecodecs.PackbitsError as err:
        raise CorruptImageError(_DAMAGED) from err
    if not size <= length <= size + 1:
        raise CorruptImageError(_DAMAGED)
