"""Pixel data of one frame to stored values, in every transfer syntax mammograms come in.

Nothing is decoded before the compressed data's own header agrees with the object's: what is
taken of memory follows from Rows and Columns, which the limits have admitted.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import uid

from mammoscope.errors import CorruptImageError, UnsupportedImageError
from mammoscope.imaging.dicom.codestreams import Codestream, jpeg_2000_header, jpeg_header
from mammoscope.imaging.dicom.part10 import UNDEFINED_LENGTH, Part10
from mammoscope.imaging.dicom.wavelets import centred
from mammoscope.imaging.mammogram import LEFT_TO_AREA

Words = npt.NDArray[Any]

_ITEM: Final = b"\xfe\xff\x00\xe0"
_DELIMITER: Final = b"\xfe\xff\xdd\xe0"
_MOST_FRAGMENTS: Final = 65_536
_RLE_HEADER: Final = 64


@dataclass(frozen=True, slots=True)
class Layout:
    """How stored values lie in words of memory: elements (0028,0010) to (0028,0103)."""

    rows: int
    columns: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Decoded words and what they stand for.

    Parameters
    ----------
    words
        uint8 or uint16 (H, W), in any byte order; not to be written to.
    values
        int32 (256,) or (65536,): the stored value of each word.
    reduction
        How many pixels of the image, along each side, one pixel here stands for: 1, 2, 4, ...
        Those beyond a whole multiple of it are left out.
    """

    words: Words
    values: npt.NDArray[np.int32]
    reduction: int = 1


def decode(part: Part10, layout: Layout, factor: int) -> Frame:
    """Decode the frame, reduced by up to `factor` where the codec can do so by itself.

    Parameters
    ----------
    part
        The object with its pixels.
    layout
        Size and bits.
    factor
        Power of 2.

    Raises
    ------
    UnsupportedImageError
        If the transfer syntax is not read.
    CorruptImageError
        If the pixels do not fit the layout. What the codecs raise is not caught here.
    """
    if part.pixels is None:
        raise UnsupportedImageError("The DICOM object has no pixels.")
    if part.transfer_syntax in _NATIVE:
        if part.encapsulated:
            raise CorruptImageError("The DICOM file's pixels are not encoded as it says.")
        return _native(part, layout)
    codec = _CODECS.get(part.transfer_syntax)
    if codec is None:
        raise UnsupportedImageError(
            "The DICOM object's transfer syntax is not read; uncompressed, deflated, RLE, JPEG, "
            "JPEG-LS, JPEG 2000 and HTJ2K are."
        )
    if not part.encapsulated:
        raise CorruptImageError("The DICOM file's pixels are not encoded as it says.")
    frame = codec(b"".join(_fragments(part.pixels)), layout, factor)
    if frame.words.shape != (layout.rows // frame.reduction, layout.columns // frame.reduction):
        raise CorruptImageError("The DICOM file's pixels are not as many as it says.")
    return frame


def _native(part: Part10, layout: Layout) -> Frame:
    pixels = part.pixels or memoryview(b"")
    expected = layout.rows * layout.columns * layout.allocated // 8
    if len(pixels) != expected + expected % 2 and len(pixels) != expected:
        raise CorruptImageError(
            f"The DICOM file has {len(pixels)} bytes of pixels; {expected} belong to "
            f"{layout.columns} x {layout.rows} pixels of {layout.allocated} bits."
        )
    big = part.transfer_syntax == uid.ExplicitVRBigEndian
    if layout.allocated == 16:
        words = np.frombuffer(pixels[:expected], ">u2" if big else "<u2")
    elif big and part.word_vr:
        words = np.frombuffer(pixels, np.uint8).reshape(-1, 2)[:, ::-1].reshape(-1)[:expected]
    else:
        words = np.frombuffer(pixels[:expected], np.uint8)
    return Frame(words.reshape(layout.rows, layout.columns), _stored_values(layout))


def _stored_values(layout: Layout) -> npt.NDArray[np.int32]:
    """Stored value of every word: `layout.stored` bits below and including the high bit."""
    words = np.arange(1 << layout.allocated, dtype=np.int32)
    values = (words >> (layout.high_bit + 1 - layout.stored)) & ((1 << layout.stored) - 1)
    return _with_sign(values, layout.stored) if layout.signed else values


def _with_sign(values: npt.NDArray[np.int32], bits: int) -> npt.NDArray[np.int32]:
    """Take unsigned numbers of `bits` bits for two's complements."""
    return np.asarray(values - ((values >> (bits - 1)) << bits), np.int32)


def _fragments(pixels: memoryview) -> Iterator[memoryview]:
    """Fragments of the only frame: all items but the first, which is the offset table."""
    at = 0
    for number in range(_MOST_FRAGMENTS):
        tag, length = bytes(pixels[at : at + 4]), int.from_bytes(pixels[at + 4 : at + 8], "little")
        if (tag == _DELIMITER or at == len(pixels)) and number > 1:
            return
        if tag != _ITEM or length == UNDEFINED_LENGTH or at + 8 + length > len(pixels):
            raise CorruptImageError("The DICOM file's compressed pixels break off.")
        if number:
            yield pixels[at + 8 : at + 8 + length]
        at += 8 + length
    raise CorruptImageError("The DICOM file's compressed pixels are in too many pieces.")


def _rle(data: bytes, layout: Layout, _factor: int) -> Frame:
    """PS3.5 Annex G: a plane of bytes each, the most significant first, packed like PackBits."""
    planes = layout.allocated // 8
    count, *offsets = (int(word) for word in np.frombuffer(data[:_RLE_HEADER], "<u4"))
    bounds = [*offsets[:planes], len(data)]
    if len(offsets) != 15 or count != planes or bounds != sorted(bounds) or bounds[0] < _RLE_HEADER:
        raise CorruptImageError("The DICOM file's RLE header is damaged.")
    size = layout.rows * layout.columns
    words = np.empty((size, planes), np.uint8)
    for plane in range(planes):
        segment = data[bounds[plane] : bounds[plane + 1]]
        # One byte more than belongs there, so that a plane that runs on is noticed.
        unpacked = imagecodecs.packbits_decode(segment, out=bytearray(size + 2))
        if not size <= len(unpacked) <= size + 1:
            raise CorruptImageError("The DICOM file's RLE data are not as many as it says.")
        words[:, planes - 1 - plane] = np.frombuffer(unpacked, np.uint8, size)
    grid = words.view("<u2") if planes == 2 else words
    return Frame(grid.reshape(layout.rows, layout.columns), _stored_values(layout))


def _jpeg(data: bytes, layout: Layout, factor: int) -> Frame:
    """JPEG of 8 or 12 bits, and lossless JPEG of up to 16."""
    header = jpeg_header(data)
    _require_fit(header, layout)
    values = _code_values(header, layout)
    if header.precision == 8 and not header.lossless:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            if (drafted := factor // LEFT_TO_AREA) > 1:
                image.draft("L", (layout.columns // drafted, layout.rows // drafted))
            words = np.asarray(image)
        reduction = max(1, round(layout.columns / words.shape[1]))
        return Frame(_whole(words, layout, reduction), values, reduction)
    return Frame(np.asarray(imagecodecs.jpeg_decode(data)), values)


def _jpeg_ls(data: bytes, layout: Layout, _factor: int) -> Frame:
    header = jpeg_header(data)
    _require_fit(header, layout)
    return Frame(np.asarray(imagecodecs.jpegls_decode(data)), _code_values(header, layout))


def _jpeg_2000(data: bytes, layout: Layout, factor: int) -> Frame:
    """JPEG 2000 and HTJ2K, leaving out as many resolution levels as can be spared."""
    header = jpeg_2000_header(data)
    _require_fit(header, layout)
    levels = min(header.levels, factor.bit_length() - 1)
    # A container around the codestream has no place in DICOM, and is found here and there.
    with Image.open(io.BytesIO(data), formats=("JPEG2000",)) as image:
        image.reduce = levels  # type: ignore[method-assign, assignment]
        words = np.asarray(image)
    # Pillow scales to 8 or 16 bits, and lifts signed samples above zero.
    width = 8 * words.dtype.itemsize
    code = np.arange(1 << width, dtype=np.int32) >> (width - header.precision)
    if header.signed:
        values = code - (1 << (header.precision - 1))
    else:
        values = _with_sign(code, layout.stored) if layout.signed else code
    under_pixels = centred(words, levels, reversible=header.reversible)
    return Frame(_whole(under_pixels, layout, 1 << levels), values, 1 << levels)


def _whole(words: Words, layout: Layout, reduction: int) -> Words:
    """Drop pixels that stand for fewer than `reduction` along a side."""
    return words[: layout.rows // reduction, : layout.columns // reduction]


def _code_values(header: Codestream, layout: Layout) -> npt.NDArray[np.int32]:
    """Stored value of every word that a codec without signs decodes."""
    values = np.arange(1 << (8 if header.precision <= 8 else 16), dtype=np.int32)
    if not layout.signed:
        return values
    return _with_sign(values & ((1 << layout.stored) - 1), layout.stored)


def _require_fit(header: Codestream, layout: Layout) -> None:
    if (header.rows, header.columns) != (layout.rows, layout.columns):
        raise CorruptImageError(
            f"The DICOM file announces {layout.columns} x {layout.rows} pixels; its compressed "
            f"data have {header.columns} x {header.rows}."
        )
    if header.components != 1 or not 1 < header.precision <= 16:
        raise CorruptImageError("The DICOM file's compressed data are not those of a grey image.")


_NATIVE: Final = {
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
}
_CODECS: Final[Mapping[str, Callable[[bytes, Layout, int], Frame]]] = {
    uid.RLELossless: _rle,
    uid.JPEGBaseline8Bit: _jpeg,
    uid.JPEGExtended12Bit: _jpeg,
    uid.JPEGLossless: _jpeg,
    uid.JPEGLosslessSV1: _jpeg,
    uid.JPEGLSLossless: _jpeg_ls,
    uid.JPEGLSNearLossless: _jpeg_ls,
    uid.JPEG2000Lossless: _jpeg_2000,
    uid.JPEG2000: _jpeg_2000,
    uid.HTJ2KLossless: _jpeg_2000,
    uid.HTJ2KLosslessRPCL: _jpeg_2000,
    uid.HTJ2K: _jpeg_2000,
}
