"""The file format of DICOM PS3.10: preamble, file meta information, data set up to the pixels."""

import io
import logging
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from mammoscope.errors import CorruptImageError, ImageTooLargeError, UnsupportedImageError
from mammoscope.imaging.dicom.signature import PREAMBLE, PREFIX
from mammoscope.settings.service import ReadingLimits

# What operating systems, shells and viewers would run or open instead: PE and MS-DOS, ELF, Mach-O
# in its four forms and the universal one, scripts, PDF, ZIP, HTML.
_OTHER_PROGRAMS: Final = (
    b"MZ",
    b"\x7fELF",
    b"\xfe\xed\xfa",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
    b"#!",
    b"%PDF",
    b"PK\x03\x04",
    b"<",
)

_MOST_READS: Final = 60_000
"""Reads that one object may take before its pixels: about 20,000 elements. Mammograms have
hundreds; millions of empty ones would cost minutes and gigabytes."""

_FLOAT_PIXELS: Final = 0x7FE00008
_PIXELS: Final = 0x7FE00010
_PIXEL_VRS: Final = (b"OB", b"OW", b"UN")
UNDEFINED_LENGTH: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, eq=False)
class Part10:
    """An object taken apart.

    Parameters
    ----------
    elements
        The elements asked for.
    transfer_syntax
        (0002,0010) Transfer Syntax UID.
    media_storage_class
        (0002,0002) Media Storage SOP Class UID, empty where it is missing.
    little_endian
        Byte order of numbers.
    pixels
        Value of (7FE0,0010) Pixel Data, a view into the file: all the rest of it where its length
        is undefined; None without one.
    encapsulated
        Whether the value's length is undefined, so that it consists of fragments.
    word_vr
        Whether the pixels are stored as OW, in words of 16 bits.
    """

    elements: Dataset
    transfer_syntax: str
    media_storage_class: str
    little_endian: bool
    pixels: memoryview | None
    encapsulated: bool
    word_vr: bool


def take_apart(data: bytes, tags: Collection[int], limits: ReadingLimits) -> Part10:
    """Read the elements `tags` of a DICOM file and find its pixels, copying neither.

    Raises
    ------
    UnsupportedImageError
        If the preamble is that of a program or a document.
    CorruptImageError, ImageTooLargeError
        If the bytes break off, contradict themselves, or inflate or run on beyond all bounds.
        What pydicom raises for malformed bytes is not caught here.
    """
    _be_quiet()
    if data.startswith(_OTHER_PROGRAMS):
        raise UnsupportedImageError(
            "The DICOM file begins like a program or a document; its first 128 bytes must be "
            "empty, or those of a TIFF."
        )
    stream = _BoundedReads(data)
    stream.seek(PREAMBLE + len(PREFIX))
    meta = read_dataset(
        stream,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, _vr, _length: tag.group != 2,
        specific_tags=[0x00020002, 0x00020010],
    )
    if 0x00020010 not in meta:
        raise CorruptImageError("The DICOM file does not say how it is encoded.")
    syntax = str(meta[0x00020010].value)
    if syntax == DeflatedExplicitVRLittleEndian:
        data = _inflate(memoryview(data)[stream.tell() :], limits.max_image_bytes)
        stream = _BoundedReads(data)
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    elements = read_dataset(
        stream,
        is_implicit_VR=implicit,
        is_little_endian=little,
        stop_when=lambda tag, _vr, _length: tag >= _FLOAT_PIXELS,
        specific_tags=[*tags],
    )
    implicit = bool(elements.original_encoding[0])  # what it is in fact: some files lie
    storage_class = str(meta[0x00020002].value) if 0x00020002 in meta else ""
    pixels, encapsulated, word_vr = _find_pixels(data, stream.tell(), implicit, little)
    return Part10(elements, syntax, storage_class, little, pixels, encapsulated, word_vr)


def _find_pixels(
    data: bytes,
    at: int,
    implicit: bool,  # noqa: FBT001
    little: bool,  # noqa: FBT001
) -> tuple[memoryview | None, bool, bool]:
    """Return what `Part10` says of pixels, if (7FE0,0010) begins at byte `at`."""
    order: Literal["little", "big"] = "little" if little else "big"
    header = data[at : at + 12]

    def number(start: int, size: int) -> int:
        return int.from_bytes(header[start : start + size], order)

    if len(header) < 12 or (number(0, 2) << 16 | number(2, 2)) != _PIXELS:
        return None, False, False
    start, length, vr = (
        (at + 8, number(4, 4), b"OW") if implicit else (at + 12, number(8, 4), header[4:6])
    )
    if vr not in _PIXEL_VRS:
        raise CorruptImageError("The DICOM file's pixels are not stored as pixels.")
    value = memoryview(data)[start:]
    if length == UNDEFINED_LENGTH:
        return value, True, False
    if length > len(value):
        raise CorruptImageError("The DICOM file breaks off within its pixels.")
    return value[:length], False, vr != b"OB"


class _BoundedReads(io.BytesIO):
    """A stream that stops whoever reads it in too many pieces."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = _MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise ImageTooLargeError("The DICOM file has more elements than any mammogram has.")
        return super().read(size)


def _inflate(deflated: memoryview, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(deflated, max_bytes + 1)
    except zlib.error as err:
        raise CorruptImageError("The deflated DICOM file is damaged.") from err
    if len(data) > max_bytes:
        raise ImageTooLargeError(
            f"The DICOM file inflates to more than the {max_bytes} bytes that are allowed."
        )
    if not inflater.eof:
        raise CorruptImageError("The deflated DICOM file breaks off.")
    return data


def _be_quiet() -> None:
    """Keep pydicom from warning and logging: its messages quote values, hence patients."""
    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
