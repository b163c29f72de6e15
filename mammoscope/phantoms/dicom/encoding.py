"""Encodings of an image in a DICOM object: transfer syntaxes, bits and window."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import imagecodecs
import numpy as np
from pydicom import uid

from mammoscope.errors import ConfigurationError
from mammoscope.imaging.arrays import Words

WindowFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]

JPEG_QUALITY: Final = 95
NEAR_LOSSLESS: Final = 3
"""Maximum error of near-lossless JPEG-LS, in stored values."""

JPEG_2000_DECIBELS: Final = 60
"""Peak signal-to-noise ratio of lossy JPEG 2000."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """The encoding of an object's image.

    Parameters
    ----------
    syntax
        Name of the transfer syntax, a key of `SYNTAXES`.
    bits
        Bits stored, 2 to 16; up to 8 are allocated as bytes. Some `SYNTAXES` allow only some
        values.
    signed
        Whether values are two's complement; not with lossy compression, which could flip signs.
    inverted
        Whether the photometric interpretation is MONOCHROME1.
    window
        Window function; None for an object without a window.
    """

    syntax: str = "explicit"
    bits: int = 12
    signed: bool = False
    inverted: bool = False
    window: WindowFunction | None = "LINEAR"

    def __post_init__(self) -> None:
        if self.syntax not in SYNTAXES:
            raise ConfigurationError(f"Unknown transfer syntax; known are {', '.join(SYNTAXES)}.")
        allowed = SYNTAXES[self.syntax].bits
        if self.bits not in allowed:
            raise ConfigurationError(
                f"This transfer syntax cannot store {self.bits} bits; allowed are "
                f"{allowed[0]} to {allowed[-1]}."
            )
        if self.signed and SYNTAXES[self.syntax].lossy:
            raise ConfigurationError("Signed values can be stored only without loss.")


@dataclass(frozen=True, slots=True)
class Syntax:
    """A transfer syntax for writing.

    ``encode`` takes words uint8 or uint16 (H, W) and the bits stored; None for native pixels. With
    ``tells_sign``, it takes signed values as int8 or int16 and marks them as signed.
    """

    transfer_syntax: uid.UID
    bits: range = field(default=range(2, 17))
    encode: Callable[[Words, int], bytes] | None = None
    lossy: str = ""
    """Defined term of (0028,2114) Lossy Image Compression Method; empty for lossless."""
    tells_sign: bool = False


def _rle(words: Words, _bits: int) -> bytes:
    # Byte planes, most significant first; each row is packed separately (PS3.5 G.3).
    planes = words.astype(words.dtype.newbyteorder(">")).view(np.uint8)
    planes = planes.reshape(*words.shape, words.dtype.itemsize)
    segments = []
    for plane in range(words.dtype.itemsize):
        packed = bytes(imagecodecs.packbits_encode(np.ascontiguousarray(planes[:, :, plane])))
        segments.append(packed + bytes(len(packed) % 2))
    offsets = np.cumsum([64, *map(len, segments[:-1])])
    header = np.zeros(16, "<u4")
    header[: 1 + len(segments)] = [len(segments), *offsets]
    return header.tobytes() + b"".join(segments)


def _jpeg(words: Words, bits: int) -> bytes:
    depth = 8 if bits <= 8 else 12
    return bytes(imagecodecs.jpeg_encode(words, level=JPEG_QUALITY, bitspersample=depth))


def _lossless_jpeg(words: Words, bits: int, predictor: int) -> bytes:
    return bytes(
        imagecodecs.jpeg_encode(words, lossless=True, predictor=predictor, bitspersample=bits)
    )


def _jpeg_2000(words: Words, bits: int, level: int) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(
            words, level=level, codecformat="j2k", bitspersample=bits, reversible=level == 0
        )
    )


def _htj2k(words: Words, level: float | None) -> bytes:
    return bytes(imagecodecs.htj2k_encode(words, level=level, reversible=level is None))


_WHOLE_WORDS: Final = range(8, 17, 8)

SYNTAXES: Final[Mapping[str, Syntax]] = {
    "implicit": Syntax(uid.ImplicitVRLittleEndian),
    "explicit": Syntax(uid.ExplicitVRLittleEndian),
    "big-endian": Syntax(uid.ExplicitVRBigEndian),
    "deflated": Syntax(uid.DeflatedExplicitVRLittleEndian),
    "rle": Syntax(uid.RLELossless, encode=_rle),
    "jpeg": Syntax(uid.JPEGBaseline8Bit, range(8, 9), _jpeg, "ISO_10918_1"),
    "jpeg-extended": Syntax(uid.JPEGExtended12Bit, range(8, 13, 4), _jpeg, "ISO_10918_1"),
    "jpeg-lossless": Syntax(
        uid.JPEGLossless, encode=lambda words, bits: _lossless_jpeg(words, bits, 6)
    ),
    "jpeg-lossless-sv1": Syntax(
        uid.JPEGLosslessSV1, encode=lambda words, bits: _lossless_jpeg(words, bits, 1)
    ),
    "jpeg-ls": Syntax(
        uid.JPEGLSLossless, encode=lambda words, _: bytes(imagecodecs.jpegls_encode(words))
    ),
    "jpeg-ls-near": Syntax(
        uid.JPEGLSNearLossless,
        encode=lambda words, _: bytes(imagecodecs.jpegls_encode(words, level=NEAR_LOSSLESS)),
        lossy="ISO_14495_1",
    ),
    "jpeg-2000": Syntax(
        uid.JPEG2000Lossless,
        encode=lambda words, bits: _jpeg_2000(words, bits, 0),
        tells_sign=True,
    ),
    "jpeg-2000-lossy": Syntax(
        uid.JPEG2000,
        encode=lambda words, bits: _jpeg_2000(words, bits, JPEG_2000_DECIBELS),
        lossy="ISO_15444_1",
    ),
    "htj2k": Syntax(
        uid.HTJ2KLossless, _WHOLE_WORDS, lambda words, _: _htj2k(words, None), tells_sign=True
    ),
    "htj2k-lossy": Syntax(
        uid.HTJ2K, _WHOLE_WORDS, lambda words, _: _htj2k(words, 0.001), "ISO_15444_15"
    ),
}
"""Transfer syntaxes by name."""
