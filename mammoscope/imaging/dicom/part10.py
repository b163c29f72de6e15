"""Parse the DICOM PS3.10 file format: preamble, file meta information, data set, pixels."""

import io
import logging
import zlib
from collections.abc import Collection
from dataclasses import dataclass, replace
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

# Content that operating systems, shells and viewers would run or open: PE and MS-DOS, ELF, Mach-O
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
"""Maximum number of reads before the pixels: about 20,000 elements. Mammograms have hundreds;
millions of empty ones would cost minutes and gigabytes."""

_FLOAT_PIXELS: Final = 0x7FE00008
_PIXELS: Final = 0x7FE00010
_HEADER_BYTES: Final = {True: 8, False: 12}
"""Before the value of (7FE0,0010), by whether the VR is implicit (PS3.5 7.1.2, 7.1.3)."""
_PIXEL_VRS: Final = (b"OB", b"OW", b"UN")
UNDEFINED_LENGTH: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, eq=False)
class Part10:
    """A parsed DICOM file.

    Parameters
    ----------
    elements
        The requested elements.
    transfer_syntax
        (0002,0010) Transfer Syntax UID.
    media_storage_class
        (0002,0002) Media Storage SOP Class UID; empty if missing.
    little_endian
        Byte order of numbers.
    pixels
        Value of (7FE0,0010) Pixel Data as a view into the file; the rest of the file if its length
        is undefined. None if missing.
    encapsulated
        Whether the length is undefined, so that the value consists of fragments.
    word_vr
        Whether the pixels are stored as OW, in 16-bit words.
    """

    elements: Dataset
    transfer_syntax: str
    media_storage_class: str
    little_endian: bool
    pixels: memoryview | None
    encapsulated: bool
    word_vr: bool


def take_apart(data: bytes, tags: Collection[int], limits: ReadingLimits) -> Part10:
    """Read the elements `tags` of a DICOM file and locate its pixels, without copying them.

    Raises
    ------
    UnsupportedImageError
        If the preamble belongs to a program or a document.
    CorruptImageError, ImageTooLargeError
        If the bytes are truncated, contradict themselves, or exceed the limits when inflated or
        parsed. Exceptions of pydicom for malformed bytes are not caught here.
    """
    data, at, header = _read(data, tags, limits)
    implicit = bool(header.elements.original_encoding[0])  # the actual one: some misstate it
    pixels, encapsulated, word_vr = _find_pixels(data, at, implicit, header.little_endian)
    if pixels is not None and header.transfer_syntax == DeflatedExplicitVRLittleEndian:
        end = at + _HEADER_BYTES[implicit] + len(pixels)
        _require_end_or_element(data[end : end + 6])
    return replace(header, pixels=pixels, encapsulated=encapsulated, word_vr=word_vr)


def read_header(data: bytes, tags: Collection[int], limits: ReadingLimits) -> Part10:
    """Read the elements `tags` of a DICOM file, whatever its pixels are; else as `take_apart`."""
    return _read(data, tags, limits)[2]


def _read(data: bytes, tags: Collection[int], limits: ReadingLimits) -> tuple[bytes, int, Part10]:
    """Return the file, inflated, the position after its header, and it without pixels."""
    _be_quiet()
    if data.startswith(_OTHER_PROGRAMS):
        raise UnsupportedImageError(
            "The DICOM file starts like a program or a document; its first 128 bytes must be "
            "empty or those of a TIFF."
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
        raise CorruptImageError("The DICOM file does not state its transfer syntax.")
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
    storage_class = str(meta[0x00020002].value) if 0x00020002 in meta else ""
    header = Part10(
        elements, syntax, storage_class, little, pixels=None, encapsulated=False, word_vr=False
    )
    return data, stream.tell(), header


def _find_pixels(
    data: bytes,
    at: int,
    implicit: bool,  # noqa: FBT001
    little: bool,  # noqa: FBT001
) -> tuple[memoryview | None, bool, bool]:
    """Return the pixel fields of `Part10`, if (7FE0,0010) starts at byte `at`."""
    order: Literal["little", "big"] = "little" if little else "big"
    header = data[at : at + 12]

    def number(start: int, size: int) -> int:
        return int.from_bytes(header[start : start + size], order)

    if len(header) < 12 or (number(0, 2) << 16 | number(2, 2)) != _PIXELS:
        return None, False, False
    length, vr = (number(4, 4), b"OW") if implicit else (number(8, 4), header[4:6])
    if vr not in _PIXEL_VRS:
        raise CorruptImageError("The DICOM file's pixels have an invalid value representation.")
    value = memoryview(data)[at + _HEADER_BYTES[implicit] :]
    if length == UNDEFINED_LENGTH:
        return value, True, False
    if length > len(value):
        raise CorruptImageError("The DICOM file is truncated within its pixels.")
    return value[:length], False, vr != b"OB"


class _BoundedReads(io.BytesIO):
    """A stream that limits the number of reads."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = _MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise ImageTooLargeError("The DICOM file has more elements than any mammogram.")
        return super().read(size)


def _inflate(deflated: memoryview, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(deflated, max_bytes + 1)
    except zlib.error as err:
        raise CorruptImageError("The deflated DICOM file is damaged.") from err
    if len(data) > max_bytes:
        raise ImageTooLargeError(
            f"The DICOM file inflates to more than the allowed {max_bytes} bytes."
        )
    if not inflater.eof:
        raise CorruptImageError("The deflated DICOM file is truncated.")
    return data


def _require_end_or_element(rest: bytes) -> None:
    """Refuse inflated data in which the pixels are followed by anything but another element.

    The format has no checksum (PS3.5 A.5), and damaged data usually inflate to another length.
    """
    tag, vr = rest[:4], rest[4:]
    follows = int.from_bytes(tag[:2], "little") << 16 | int.from_bytes(tag[2:], "little")
    if rest and not (follows > _PIXELS and vr.isalpha() and vr.isupper()):
        raise CorruptImageError("The deflated DICOM file is damaged: its pixels are too long.")


def _be_quiet() -> None:
    """Silence pydicom's warnings and logs, which quote values and so may name patients."""
    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
