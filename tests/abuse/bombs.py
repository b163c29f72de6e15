"""Small files that are expensive to read, each as a function that returns its bytes."""

import struct
from collections.abc import Callable
from typing import Final

import numpy as np
import pydicom
from PIL import Image, ImageDraw
from pydicom.encaps import encapsulate

from mammoscope.phantoms.dicom import Encoding
from tests.abuse.images import chunk, encode, zeros
from tests.dicom_objects import mammogram_object, parsed, written

PNG_TYPE: Final = "image/png"
DICOM_TYPE: Final = "application/dicom"

_SHORT, _LONG = 3, 4
_SIDE: Final = 7071
"""Side of a square image of 50 megapixels, the most that is read."""


def _directory(entries: list[tuple[int, int, int, int]], following: int) -> bytes:
    """A TIFF directory; a single SHORT is left-justified in its four bytes."""
    packed = [struct.pack("<HHLL", *entry) for entry in entries]
    return struct.pack("<H", len(entries)) + b"".join(packed) + struct.pack("<L", following)


def _tiff(data: bytes, *pages: list[tuple[int, int, int, int]], last: int = 0) -> bytes:
    first = 8 + len(data) + len(data) % 2
    size = len(_directory(pages[0], 0))
    following = [first + size * number for number in range(1, len(pages))] + [last]
    body = b"".join(map(_directory, pages, following))
    return b"II*\0" + struct.pack("<L", first) + data.ljust(first - 8, b"\0") + body


def _grey(width: int, height: int) -> list[tuple[int, int, int, int]]:
    return [
        (256, _SHORT, 1, width),
        (257, _SHORT, 1, height),
        (258, _SHORT, 1, 8),
        (262, _SHORT, 1, 1),
    ]


def tiff_pages(count: int = 150_000) -> bytes:
    """Pages that share their pixels."""
    return _tiff(bytes(64), *[[*_grey(8, 8), (273, _LONG, 1, 8)]] * count)


def tiff_ring() -> bytes:
    """Two pages, each of which is the successor of the other."""
    page = [*_grey(8, 8), (273, _LONG, 1, 8)]
    return _tiff(bytes(64), page, page, last=8 + 64)


def tiff_strips(count: int = 8_000_000) -> bytes:
    """An image of two rows that claims to have millions of strips."""
    strips = [(273, _SHORT, count, 8), (278, _SHORT, 1, 1), (279, _LONG, 1, 64)]
    return _tiff(b"\x08\0" * count, [*_grey(64, 2), *strips])


def tiff_tile(side: int = 46_336) -> bytes:
    """An image of 100 x 100 pixels in one huge tile."""
    data = zeros(side * side // 64)  # the rest is missing
    tile = [(322, _LONG, 1, side), (323, _LONG, 1, side), (324, _LONG, 1, 8)]
    deflated = [(259, _SHORT, 1, 8), (277, _SHORT, 1, 1)]
    return _tiff(data, sorted([*_grey(100, 100), *deflated, *tile, (325, _LONG, 1, len(data))]))


def tiff_floats() -> bytes:
    """50 megapixels of floating-point zeros."""
    data = zeros(_SIDE * _SIDE * 4)
    entries = [entry for entry in _grey(_SIDE, _SIDE) if entry[0] != 258]
    more = [(258, _SHORT, 1, 32), (259, _SHORT, 1, 8), (273, _LONG, 1, 8), (277, _SHORT, 1, 1)]
    more += [(278, _LONG, 1, _SIDE), (279, _LONG, 1, len(data)), (339, _SHORT, 1, 3)]
    return _tiff(data, sorted(entries + more))


def _segment(marker: int, body: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg_segments(marker: int, body: bytes, count: int) -> bytes:
    """A small JPEG with many segments before its pixels."""
    plain = encode(Image.new("L", (64, 64)), "JPEG")
    return plain[:2] + _segment(marker, body) * count + plain[2:]


def jpeg_scans(count: int = 20_000) -> bytes:
    """A progressive JPEG with many empty refinement scans."""
    plain = encode(Image.new("L", (7040, 7040), 128), "JPEG", progressive=True)
    marks = [i for i in range(len(plain) - 1) if plain[i : i + 2] == b"\xff\xda"]
    again = plain[marks[3] : marks[4]]
    return plain[: marks[4]] + again * count + plain[marks[4] :]


def png(width: int, height: int, colours: int, bits: int, *, interlaced: bool = False) -> bytes:
    """A PNG of zeros with the colour type `colours`."""
    channels = {0: 1, 2: 3, 6: 4}[colours]
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, int(interlaced))
    rows = zeros((width * channels * bits // 8 + 1) * height + 100_000 * interlaced)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_chunks(extra: bytes) -> bytes:
    """A small PNG with `extra` before its pixels."""
    plain = encode(Image.new("L", (64, 64)))
    place = plain.index(b"IDAT") - 4
    return plain[:place] + extra + plain[place:]


def png_texts(count: int = 60) -> bytes:
    """Compressed text chunks of a megabyte each."""
    text = b"Comment\0\0" + zeros(1_000_000)
    return png_chunks(chunk(b"zTXt", text) * count)


def png_profile() -> bytes:
    """A colour profile of 200 MB."""
    return png_chunks(chunk(b"iCCP", b"a\0\0" + zeros(200_000_000)))


def triangle(width: int = 16_384, height: int = 1195) -> bytes:
    """A white triangle: the breast search finds only edges."""
    image = Image.new("L", (width, height))
    ImageDraw.Draw(image).polygon([(0, 0), (0, height), (width, height)], 255)
    return encode(image)


def teeth(width: int = 7000, height: int = 7000) -> bytes:
    """White teeth on black: an outline of millions of pixels."""
    columns = (np.arange(width) % 4 < 2).astype(np.uint8) * 255
    return encode(Image.fromarray(np.broadcast_to(columns, (height, width)).copy()))


def dicom_element(tag: str, value: bytes) -> bytes:
    """An object in implicit VR whose element `tag` has a value of any length."""
    elements = parsed(mammogram_object(Encoding("implicit")))
    place = pydicom.tag.Tag(tag)
    elements.pop(place, None)
    after = min(each for each in elements.keys() if each > place)  # noqa: SIM118 a Dataset
    plain = written(elements)
    at = plain.index(struct.pack("<HH", after.group, after.element), 300)
    value += b" " * (len(value) % 2)
    head = struct.pack("<HHL", place.group, place.element, len(value))
    return plain[:at] + head + value + plain[at:]


def dicom_table(count: int = 15_000_000) -> bytes:
    """A VOI LUT of `count` entries that claims to have 256."""
    descriptor = struct.pack("<HHLHHH", 0x28, 0x3002, 6, 256, 0, 16)
    item = descriptor + struct.pack("<HHL", 0x28, 0x3006, 2 * count) + b"\1\0" * count
    return dicom_element("VOILUTSequence", b"\xfe\xff\0\xe0" + struct.pack("<L", len(item)) + item)


def dicom_depth(depth: int = 100_000) -> bytes:
    """Nested sequences."""
    head = struct.pack("<HHL", 8, 0x1140, 0xFFFFFFFF) + b"\xfe\xff\0\xe0\xff\xff\xff\xff"
    return dicom_element("ReferencedImageSequence", head * depth)


def _with_stream(syntax: str, stream: bytes, side: int) -> bytes:
    elements = parsed(mammogram_object(Encoding(syntax)))
    elements.PixelData = encapsulate([stream])
    elements.Rows = elements.Columns = side
    return written(elements)


def _codestream(side: int, precincts: bytes) -> bytes:
    """A JPEG 2000 codestream of one component without any data (ISO/IEC 15444-1, annex A)."""
    size = struct.pack(">H8IHBBB", 0, side, side, 0, 0, side, side, 0, 0, 1, 11, 1, 1)
    coding = bytes((1 if precincts else 0, 0, 0, 1, 0, 5, 0, 0, 0, 1)) + precincts
    quantised = b"\x40" + b"\x48" * 16
    tile = b"\xff\x90\0\x0a\0\0\0\0\0\x0e\0\1\xff\x93"
    parts = (_segment(0x51, size), _segment(0x52, coding), _segment(0x5C, quantised), tile)
    return b"\xff\x4f" + b"".join(parts) + b"\xff\xd9"


def j2k_precincts(side: int = 7000) -> bytes:
    """49 megapixels in precincts of 2 x 2, in 1.5 kB."""
    return _with_stream("jpeg-2000", _codestream(side, b"\x11" * 6), side)


def j2k_decoy(side: int = 13_000) -> bytes:
    """A small codestream in a box that is skipped, before one of 169 megapixels."""

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body) + 8) + kind + body

    header = box(b"ihdr", struct.pack(">IIHBBBB", side, side, 1, 11, 7, 0, 0))
    colours = box(b"colr", b"\1\0\0\0\0\0\x11")
    boxes = (
        box(b"jP  ", b"\r\n\x87\n"),
        box(b"ftyp", b"jp2 \0\0\0\0jp2 "),
        box(b"free", _codestream(208, b"")),
        box(b"jp2h", header + colours),
        box(b"jp2c", _codestream(side, b"")),
    )
    return _with_stream("jpeg-2000", b"".join(boxes), 208)


def jpeg_marker(before: bytes, side: int = 65_000) -> bytes:
    """A lossless JPEG of 4 gigapixels whose size is after a marker without a length."""
    frame = _segment(0xC3, struct.pack(">BHHBBBB", 12, side, side, 1, 1, 0x11, 0))
    decoy = _segment(0xFE, _segment(0xC3, struct.pack(">BHHBBBB", 12, 208, 208, 1, 1, 0x11, 0)))
    return _with_stream("jpeg-lossless", b"\xff\xd8" + before + frame + decoy + bytes(90_000), 208)


IMAGES: Final[dict[str, tuple[str, Callable[[], bytes]]]] = {
    "TIFF of many pages": (PNG_TYPE, tiff_pages),
    "TIFF whose pages form a ring": (PNG_TYPE, tiff_ring),
    "TIFF of many strips": (PNG_TYPE, tiff_strips),
    "TIFF of a huge tile": (PNG_TYPE, tiff_tile),
    "TIFF of floating-point numbers": (PNG_TYPE, tiff_floats),
    "JPEG of many scans": (PNG_TYPE, jpeg_scans),
    "JPEG of many Exif segments": (
        PNG_TYPE,
        lambda: jpeg_segments(0xE1, b"Exif\0\0" + b"A" * 10, 300_000),
    ),
    "JPEG of many comments": (PNG_TYPE, lambda: jpeg_segments(0xFE, b"", 5_000_000)),
    "JPEG of many colour profiles": (
        PNG_TYPE,
        lambda: jpeg_segments(0xE2, b"ICC_PROFILE\0\1\1" + bytes(1000), 50_000),
    ),
    "PNG of many private chunks": (PNG_TYPE, lambda: png_chunks(chunk(b"prIv", b"") * 2_000_000)),
    "PNG of many empty chunks": (PNG_TYPE, lambda: png_chunks(chunk(b"IDAT", b"") * 2_000_000)),
    "PNG of many compressed texts": (PNG_TYPE, png_texts),
    "PNG of a huge profile": (PNG_TYPE, png_profile),
    "PNG of 50 megapixels, RGBA": (PNG_TYPE, lambda: png(_SIDE, _SIDE, 6, 8)),
    "PNG of 50 megapixels, RGBA, 16 bits": (PNG_TYPE, lambda: png(_SIDE, _SIDE, 6, 16)),
    "PNG of 50 megapixels, RGB, 16 bits, interlaced": (
        PNG_TYPE,
        lambda: png(_SIDE, _SIDE, 2, 16, interlaced=True),
    ),
    "PNG of a triangle": (PNG_TYPE, triangle),
    "PNG of teeth": (PNG_TYPE, teeth),
    "DICOM of many numbers in text": (
        DICOM_TYPE,
        lambda: dicom_element("WindowCenter", b"1\\" * 15_000_000 + b"1"),
    ),
    "DICOM of many integers in text": (
        DICOM_TYPE,
        lambda: dicom_element("NumberOfFrames", b"1\\" * 15_000_000 + b"1"),
    ),
    "DICOM of many words": (
        DICOM_TYPE,
        lambda: dicom_element("ImageType", b"A\\" * 15_000_000 + b"A"),
    ),
    "DICOM of many numbers": (DICOM_TYPE, lambda: dicom_element("Rows", b"\0\1" * 30_000_000)),
    "DICOM of a long table": (DICOM_TYPE, dicom_table),
    "DICOM of deep sequences": (DICOM_TYPE, dicom_depth),
    "JPEG 2000 of small precincts": (DICOM_TYPE, j2k_precincts),
    "JPEG 2000 behind a decoy": (DICOM_TYPE, j2k_decoy),
    "JPEG behind TEM": (DICOM_TYPE, lambda: jpeg_marker(b"\xff\x01")),
    "JPEG behind a restart": (DICOM_TYPE, lambda: jpeg_marker(b"\xff\xd0")),
    "JPEG behind fill bytes": (DICOM_TYPE, lambda: jpeg_marker(b"\xff" * 50)),
}
"""Media type and function of each file."""
