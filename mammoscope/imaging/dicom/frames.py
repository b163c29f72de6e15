"""Decode the pixel data of one frame to stored values, in every transfer syntax of mammography.

The compressed data's own header must agree with the object before anything is decoded. Memory use
therefore follows from Rows and Columns, which the limits have already accepted.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import uid

from mammoscope.errors import CorruptImageError, UnsupportedImageError
from mammoscope.imaging.arrays import Words
from mammoscope.imaging.dicom import lossless_jpeg
from mammoscope.imaging.dicom.codestreams import (
    Codestream,
    jpeg_2000_header,
    jpeg_header,
    without_padding,
)
from mammoscope.imaging.dicom.part10 import UNDEFINED_LENGTH, Part10
from mammoscope.imaging.dicom.wavelets import centred
from mammoscope.imaging.jpeg_damage import damage
from mammoscope.imaging.mammogram import LEFT_TO_AREA

_ITEM: Final = b"\xfe\xff\x00\xe0"
_DELIMITER: Final = b"\xfe\xff\xdd\xe0"
_MOST_FRAGMENTS: Final = 65_536
_RLE_HEADER: Final = 64
_PADDING: Final = b"\0 \xff"
"""Possible padding after packed segments."""

_SIGNS_CONTRADICT: Final = (
    "The DICOM object and its compressed data disagree about the sign of pixel values."
)

_MANY_OTHER_BITS: Final = (
    "Many of the DICOM object's pixels have more bits than Bits Stored says; only those that it "
    "says were read."
)
_MOST_OVERLAID: Final = 0.25
"""Share of pixels with other bits that overlays may have: they mark a few lines and letters."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Layout of stored values in memory words: elements (0028,0010) to (0028,0103)."""

    rows: int
    columns: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Decoded words and the stored values they represent.

    Parameters
    ----------
    words
        uint8 or uint16 (H, W), in any byte order; read-only.
    values
        int32 (256,) or (65536,): the stored value for each word.
    reduction
        Number of pixels of the image, along each side, per pixel of the frame: 1, 2, 4, ...
        Incomplete pixels at the end are dropped.
    otherwise
        Stored values by the compressed data, if these and the object disagree about signs; `values`
        follow the object. None if they agree.
    warnings
        Contradictions and damage, in words.
    """

    words: Words
    values: npt.NDArray[np.int32]
    reduction: int = 1
    otherwise: npt.NDArray[np.int32] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Decoded:
    """Result of a codec.

    Parameters
    ----------
    words
        As in `Frame`.
    precision
        Bits per sample.
    samples
        int32 (256,) or (65536,): the sample for each word; None if the word is the sample.
    reduction
        As in `Frame`.
    signed
        Whether the compressed data mark samples as signed; None if they cannot.
    warnings
        As in `Frame`.
    """

    words: Words
    precision: int
    samples: npt.NDArray[np.int32] | None = None
    reduction: int = 1
    signed: bool | None = None
    warnings: tuple[str, ...] = ()


def decode(part: Part10, layout: Layout, factor: int) -> Frame:
    """Decode the frame, reduced by up to `factor` if the codec supports it.

    Parameters
    ----------
    part
        The parsed object with its pixels.
    layout
        Size and bit layout.
    factor
        Power of 2.

    Raises
    ------
    UnsupportedImageError
        If the transfer syntax is not supported.
    CorruptImageError
        If the pixels do not fit the layout. Exceptions of the codecs are not caught here.
    """
    if part.pixels is None:
        raise UnsupportedImageError("The DICOM object has no pixels.")
    if part.transfer_syntax in _NATIVE:
        if part.encapsulated:
            raise CorruptImageError("The DICOM file's pixels are not encoded as its header states.")
        return _frame(_native(part, layout), layout, lossy=False)
    codec = _CODECS.get(part.transfer_syntax)
    if codec is None:
        raise UnsupportedImageError(
            "The DICOM object's transfer syntax is not supported; supported are uncompressed, "
            "deflated, RLE, JPEG, JPEG-LS, JPEG 2000 and HTJ2K."
        )
    if not part.encapsulated:
        raise CorruptImageError("The DICOM file's pixels are not encoded as its header states.")
    decoded = codec(b"".join(_fragments(part.pixels)), layout, factor)
    reduced = (layout.rows // decoded.reduction, layout.columns // decoded.reduction)
    if decoded.words.shape != reduced:
        raise CorruptImageError("The DICOM file's number of pixels differs from its header.")
    return _frame(decoded, layout, lossy=part.transfer_syntax not in _LOSSLESS)


def _frame(decoded: _Decoded, layout: Layout, *, lossy: bool) -> Frame:
    """Map words to stored values; the same for all transfer syntaxes."""
    samples = decoded.samples
    if samples is None:
        samples = np.arange(1 << (8 * decoded.words.dtype.itemsize), dtype=np.int32)
    # Memory words may hold other bits below and above the stored ones. So may samples of codecs
    # that were given whole words, but not samples of codecs that were given only the stored bits.
    below = layout.high_bit + 1 - layout.stored if decoded.precision > layout.high_bit else 0
    most = (1 << layout.stored) - 1
    unsigned = (samples >> below) & most
    if lossy and not below:
        # Values above the maximum come from lossy compression, not from other bits.
        unsigned[(samples > most) & (samples <= most + most // 2)] = most
    values = _with_sign(unsigned, layout.stored) if layout.signed else unsigned
    may_have_others = decoded.precision > layout.stored and not lossy
    if may_have_others and _other_bits(decoded.words, samples >> below, values, most):
        decoded = replace(decoded, warnings=(*decoded.warnings, _MANY_OTHER_BITS))
    if decoded.signed is None or decoded.signed == layout.signed:
        return Frame(decoded.words, values, decoded.reduction, warnings=decoded.warnings)
    bits = min(decoded.precision, layout.stored)
    pattern = unsigned & ((1 << bits) - 1)
    otherwise = _with_sign(pattern, bits) if decoded.signed else pattern
    return Frame(
        decoded.words, values, decoded.reduction, otherwise, (*decoded.warnings, _SIGNS_CONTRADICT)
    )


def _other_bits(
    words: Words, samples: npt.NDArray[np.int32], values: npt.NDArray[np.int32], most: int
) -> bool:
    """Whether bits above the stored ones are too many for overlays.

    The sign of stored values may be extended into them.
    """
    other = (samples > most) & (samples != (values & (len(samples) - 1)))
    return bool(other[words[::4, ::4]].mean() > _MOST_OVERLAID)


def _native(part: Part10, layout: Layout) -> _Decoded:
    pixels = part.pixels or memoryview(b"")
    expected = layout.rows * layout.columns * layout.allocated // 8
    if len(pixels) < expected or not _is_padding(pixels[expected:], layout):
        raise CorruptImageError(
            f"The DICOM file has {len(pixels)} bytes of pixels; {layout.columns} x {layout.rows} "
            f"pixels of {layout.allocated} bits need {expected}."
        )
    big = part.transfer_syntax == uid.ExplicitVRBigEndian
    if layout.allocated == 16:
        words = np.frombuffer(pixels[:expected], ">u2" if big else "<u2")
    elif big and part.word_vr:
        even = pixels[: len(pixels) // 2 * 2]
        words = np.frombuffer(even, np.uint8).reshape(-1, 2)[:, ::-1].reshape(-1)[:expected]
    else:
        words = np.frombuffer(pixels[:expected], np.uint8)
    return _Decoded(words.reshape(layout.rows, layout.columns), layout.allocated)


def _is_padding(rest: memoryview, layout: Layout) -> bool:
    """Whether the bytes after the last row are padding, not undeclared rows or columns.

    Senders pad to even lengths and to disk blocks. Undeclared columns would slant the image, and
    its last rows may well be blank. Undeclared blank rows do not matter.
    """
    row, column = (side * layout.allocated // 8 for side in (layout.columns, layout.rows))
    if len(rest) < min(row, column):
        return True
    columns_unsaid = len(rest) % column == 0 and len(rest) % row > 0
    return not columns_unsaid and len(set(rest)) == 1


def _with_sign(values: npt.NDArray[np.int32], bits: int) -> npt.NDArray[np.int32]:
    """Interpret unsigned numbers of `bits` bits as two's complement."""
    return np.asarray(values - ((values >> (bits - 1)) << bits), np.int32)


def _fragments(pixels: memoryview) -> Iterator[memoryview]:
    """Yield the fragments of the only frame: all items except the first, the offset table."""
    at = 0
    for number in range(_MOST_FRAGMENTS):
        tag, length = bytes(pixels[at : at + 4]), int.from_bytes(pixels[at + 4 : at + 8], "little")
        if (tag == _DELIMITER or at == len(pixels)) and number > 1:
            return
        if tag != _ITEM or length == UNDEFINED_LENGTH or at + 8 + length > len(pixels):
            raise CorruptImageError("The DICOM file's compressed pixels are truncated.")
        if number:
            yield pixels[at + 8 : at + 8 + length]
        at += 8 + length
    raise CorruptImageError("The DICOM file's compressed pixels are in too many pieces.")


def _rle(data: bytes, layout: Layout, _factor: int) -> _Decoded:
    """Decode RLE, PS3.5 Annex G: one plane per byte, most significant first, as PackBits."""
    planes = layout.allocated // 8
    count, *offsets = (int(word) for word in np.frombuffer(data[:_RLE_HEADER], "<u4"))
    bounds = [*offsets[:planes], len(data)]
    if len(offsets) != 15 or count != planes or bounds != sorted(bounds) or bounds[0] < _RLE_HEADER:
        raise CorruptImageError("The DICOM file's RLE header is damaged.")
    size = layout.rows * layout.columns
    words = np.empty((size, planes), np.uint8)
    for plane in range(planes):
        segment = data[bounds[plane] : bounds[plane + 1]]
        words[:, planes - 1 - plane] = np.frombuffer(_unpacked(segment, size), np.uint8, size)
    grid = words.view("<u2") if planes == 2 else words
    return _Decoded(grid.reshape(layout.rows, layout.columns), layout.allocated)


def _unpacked(segment: bytes, size: int) -> bytes:
    """Unpack `size` bytes from a segment that may end in padding."""
    unpacked = b""
    with suppress(imagecodecs.PackbitsError):  # padding is not valid PackBits
        # Two extra bytes reveal a plane that is too long.
        unpacked = bytes(imagecodecs.packbits_decode(segment, out=bytearray(size + 2)))
    if not size <= len(unpacked) <= size + 1:
        end = _packed_length(segment, size)
        if segment[end:].strip(_PADDING):
            raise CorruptImageError("The DICOM file's RLE data do not match the image size.")
        unpacked = bytes(imagecodecs.packbits_decode(segment[:end], out=bytearray(size)))
    return unpacked


def _packed_length(segment: bytes, size: int) -> int:
    """Length of the part of a segment that unpacks to `size` bytes or just beyond."""
    at = length = 0
    while length < size and at < len(segment):
        control = segment[at]
        literal = control < 128
        at += control + 2 if literal else 1 if control == 128 else 2
        length += control + 1 if literal else 0 if control == 128 else 257 - control
    return at if length <= size + 1 else len(segment)


def _jpeg(data: bytes, layout: Layout, factor: int) -> _Decoded:
    """Decode JPEG of 8 or 12 bits, and lossless JPEG of up to 16."""
    data = without_padding(data)
    header = jpeg_header(data)
    _require_fit(header, layout)
    if header.precision == 8 and not header.lossless:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            if (drafted := factor // LEFT_TO_AREA) > 1 and layout.stored >= 8:
                image.draft("L", (layout.columns // drafted, layout.rows // drafted))
            words = np.asarray(image)
        reduction = max(1, round(layout.columns / words.shape[1]))
        return _Decoded(
            _whole(words, layout, reduction), 8, reduction=reduction, warnings=damage(data)
        )
    words = np.asarray(imagecodecs.jpeg_decode(data))
    if header.lossless:
        lossless_jpeg.require_intact(data, words)
        return _Decoded(words, header.precision)
    return _Decoded(words, header.precision, warnings=damage(data))


def _jpeg_ls(data: bytes, layout: Layout, _factor: int) -> _Decoded:
    data = without_padding(data)
    header = jpeg_header(data)
    _require_fit(header, layout)
    return _Decoded(np.asarray(imagecodecs.jpegls_decode(data)), header.precision)


def _jpeg_2000(data: bytes, layout: Layout, factor: int) -> _Decoded:
    """Decode JPEG 2000 and HTJ2K, leaving out as many resolution levels as `factor` allows."""
    header = jpeg_2000_header(data)
    _require_fit(header, layout)
    levels = min(header.levels, factor.bit_length() - 1)
    if header.precision > layout.stored or header.signed != layout.signed:
        levels = 0  # words with other bits, or with wrapped signs, cannot be averaged
    # DICOM does not allow a container around the codestream, but some files have one.
    with Image.open(io.BytesIO(data), formats=("JPEG2000",)) as image:
        image.reduce = levels  # type: ignore[method-assign, assignment]
        words = np.asarray(image)
    # Pillow scales to 8 or 16 bits and shifts signed samples above zero.
    width = 8 * words.dtype.itemsize
    samples = np.arange(1 << width, dtype=np.int32) >> (width - header.precision)
    if header.signed:
        samples -= 1 << (header.precision - 1)
    under_pixels = centred(words, levels, reversible=header.reversible)
    return _Decoded(
        _whole(under_pixels, layout, 1 << levels),
        header.precision,
        samples,
        1 << levels,
        header.signed,
    )


def _whole(words: Words, layout: Layout, reduction: int) -> Words:
    """Drop edge pixels that represent fewer than `reduction` pixels along a side."""
    return words[: layout.rows // reduction, : layout.columns // reduction]


def _require_fit(header: Codestream, layout: Layout) -> None:
    if (header.rows, header.columns) != (layout.rows, layout.columns):
        raise CorruptImageError(
            f"The DICOM file declares {layout.columns} x {layout.rows} pixels; its compressed "
            f"data have {header.columns} x {header.rows}."
        )
    if header.components != 1 or not 1 < header.precision <= 16:
        raise CorruptImageError("The DICOM file's compressed data are not greyscale.")


_NATIVE: Final = {
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
}
_LOSSLESS: Final = {
    uid.RLELossless,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
}
_CODECS: Final[Mapping[str, Callable[[bytes, Layout, int], _Decoded]]] = {
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
