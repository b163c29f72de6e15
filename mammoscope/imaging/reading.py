"""Decode image bytes into a `Mammogram`: the one reader of training, evaluation and service.

`mammoscope.imaging.dicom` reads DICOM files; Pillow reads everything else.

Formats are on an allow-list and are recognised from the bytes, never from a file's name. Size
limits are checked on the header, before any pixel is decoded. A caller that states how many pixels
it needs gets a reduced image: JPEG is decoded at a half, a quarter or an eighth of its size; other
images are shrunk before their samples become floating-point numbers.
"""

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from mammoscope.errors import (
    CorruptImageError,
    DecodingLimitError,
    EmptyImageError,
    ImageError,
    ImageTooLargeError,
    UnreadableFileError,
    UnsupportedImageError,
)
from mammoscope.imaging import jpeg_damage, png_damage, tiff_damage
from mammoscope.imaging.arrays import Grey
from mammoscope.imaging.dicom import Pseudonyms, is_dicom
from mammoscope.imaging.grey_range import LEAST_OCCUPIED, on_occupied_range, widened
from mammoscope.imaging.mammogram import LEFT_TO_AREA, Mammogram, SourceFacts, reduction_for, shrink
from mammoscope.settings.service import ReadingLimits

_FORMATS: Final = ("JPEG", "PNG", "TIFF")
_PILLOW_WORDS: Final = "JPEG, PNG or TIFF"
_ALLOWED_WORDS: Final = "JPEG, PNG, TIFF or DICOM"

# Magic numbers: ITU-T T.81 B.1.1.3 (JPEG), ISO/IEC 15948 5.2 (PNG), TIFF 6.0 section 2 and BigTIFF.
# They are checked before Pillow sees the bytes, so that no other decoder can be reached.
_SIGNATURES: Final = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"II*\x00",
    b"MM\x00*",
    b"II+\x00",
    b"MM\x00+",
)

_SAMPLE_BITS: Final = {
    "1": 1,
    "L": 8,
    "LA": 8,
    "La": 8,
    "P": 8,
    "PA": 8,
    "RGB": 8,
    "RGBA": 8,
    "RGBa": 8,
    "RGBX": 8,
    "CMYK": 8,
    "YCbCr": 8,
    "LAB": 8,
    "HSV": 8,
    "I;16": 16,
    "I;16L": 16,
    "I;16B": 16,
    "I;16N": 16,
    "I": 32,
    "F": 32,
}

# The chroma of greyscale images in RGB JPEG stays below this share of the full range; that of a
# colour photograph does not (measured by tests/imaging/test_reading.py).
_COLOUR_TOLERANCE: Final = 0.06

_ORIENTATION: Final = 0x0112
_QUARTER_TURNS: Final = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""

_BITS_PER_SAMPLE: Final = 258
_MOST_BITS: Final = 128
_SAMPLE_FORMAT: Final = 339
_UNSIGNED: Final = 1
_SAMPLE_TYPES: Final = {
    _UNSIGNED: "unsigned integers",
    2: "signed integers",
    3: "floating-point numbers",
    5: "complex integers",
    6: "complex numbers",
}
"""TIFF 6.0 section 19."""

Size = tuple[int, int]


def read(
    data: bytes,
    limits: ReadingLimits | None = None,
    *,
    needed: Size | None = None,
    pseudonyms: Pseudonyms | None = None,
) -> Mammogram:
    """Decode one image.

    Parameters
    ----------
    data
        An encoded JPEG, PNG (1 to 16 bits per sample), TIFF or DICOM file with one frame.
    limits
        Maximum image size; None uses the defaults of `ReadingLimits`.
    needed
        Height and width in pixels required of the breast; the image is reduced by
        `mammoscope.imaging.mammogram.reduction_for`. None keeps full resolution.
    pseudonyms
        Makes pseudonyms of the patient and study of DICOM files; None leaves both out.

    Returns
    -------
    Mammogram
        Pixels float32 (H, W) in [0, 1]: stored samples divided by the maximum of the sample type,
        or stretched if they occupy less than half of that range. Colour is reduced by the Rec. 601
        luma, transparency is composed over black, and the EXIF orientation is applied.

    Raises
    ------
    EmptyImageError, UnsupportedImageError, CorruptImageError, ImageTooLargeError
        If the bytes are not a readable image; no other exceptions, whatever the bytes.
    NotAMammogramError
        If a DICOM file is not a mammogram.
    """
    limits = limits or ReadingLimits()
    require_size(data, limits)
    if is_dicom(data):
        from mammoscope.imaging.dicom.mammography import (
            read_dicom,  # imports pydicom, which takes a tenth of a second
        )

        mammogram = read_dicom(data, limits, needed=needed, pseudonyms=pseudonyms)
    elif data.startswith(_SIGNATURES):
        with _typed_errors(limits), _opened(data) as image:
            tags = getattr(image, "tag_v2", {})
            _check_header(image, limits)
            seen = jpeg_damage.thumbnail(data, image.mode) if image.format == "JPEG" else None
            mammogram = _decode(image, needed, is_grey=seen is not None and seen.is_grey)
            damaged = _damage(data, mammogram.source, tags, seen)
            mammogram = replace(mammogram, warnings=(*mammogram.warnings, *damaged))
    else:
        raise UnsupportedImageError(f"The bytes are not a {_ALLOWED_WORDS} image.")
    if mammogram.pixels.size < mammogram.source.width * mammogram.source.height:
        again = partial(read, data, limits, pseudonyms=pseudonyms)
        return replace(mammogram, read_fully=again)
    return mammogram


def _damage(
    data: bytes,
    source: SourceFacts,
    tags: Mapping[int, Any],
    seen: jpeg_damage.Thumbnail | None,
) -> tuple[str, ...]:
    """Return warnings about damage that Pillow has not noticed; `seen` is that of a JPEG."""
    match source.format:
        case "JPEG":
            return jpeg_damage.damage(data, source.mode, seen=seen)
        case "TIFF":
            return tiff_damage.damage(data, tags)
        case _:
            png_damage.require_intact(data)
            return ()


def require_size(data: bytes, limits: ReadingLimits) -> None:
    """Refuse an encoded image that has no bytes or too many.

    Raises
    ------
    EmptyImageError, ImageTooLargeError
        With the number of bytes.
    """
    if not data:
        raise EmptyImageError("The image is empty (0 bytes).")
    if len(data) > limits.max_image_bytes:
        raise ImageTooLargeError(
            f"The image has {len(data)} bytes; at most {limits.max_image_bytes} are allowed."
        )


def read_image(image: Image.Image, limits: ReadingLimits | None = None) -> Mammogram:
    """Read an image that Pillow has opened; otherwise like `read`."""
    limits = limits or ReadingLimits()
    with _typed_errors(limits):
        _check_header(image, limits)
        return _decode(image, None)


def read_file(
    path: Path,
    limits: ReadingLimits | None = None,
    *,
    needed: Size | None = None,
    pseudonyms: Pseudonyms | None = None,
) -> Mammogram:
    """Read one image file; the parameters are those of `read`.

    Raises
    ------
    UnreadableFileError
        If the file cannot be read.
    ImageError
        As in `read`.
    """
    return read(file_bytes(path, limits), limits, needed=needed, pseudonyms=pseudonyms)


def file_bytes(path: Path, limits: ReadingLimits | None = None) -> bytes:
    """Return a file's bytes; for a file over the limit, one byte more than allowed.

    Raises
    ------
    UnreadableFileError
        If the file cannot be read.
    """
    limits = limits or ReadingLimits()
    try:
        with path.open("rb") as stream:
            return stream.read(limits.max_image_bytes + 1)
    except FileNotFoundError as err:
        raise UnreadableFileError("The file does not exist.").at(path) from err
    except PermissionError as err:
        raise UnreadableFileError("There is no permission to read the file.").at(path) from err
    except OSError as err:
        raise UnreadableFileError("The file cannot be read.").at(path) from err


@contextmanager
def _typed_errors(limits: ReadingLimits) -> Iterator[None]:
    """Convert any exception of Pillow's decoders into an `ImageError`."""
    try:
        # Pillow warns of decompression bombs by its own limit; ours is checked instead. Its other
        # warnings concern metadata that is not used.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ImageError, KeyboardInterrupt):
        raise
    except UnidentifiedImageError as err:
        raise CorruptImageError(f"The bytes start like {_PILLOW_WORDS} but are truncated.") from err
    except Image.DecompressionBombError as err:
        # The exception does not tell width and height.
        size = f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels"
        raise _too_large(size, limits) from err
    except MemoryError as err:
        raise DecodingLimitError("Reading the image needs more memory than allowed.") from err
    # Decoders raise many types of exceptions; no list of them would be complete.
    except Exception as err:
        raise CorruptImageError("The image is damaged or incomplete.") from err


def _opened(data: bytes) -> Image.Image:
    """Open an image; the error for a TIFF that Pillow cannot read names its sample type."""
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        if (kind := _tiff_sample_type(data)) is None:
            raise
    raise UnsupportedImageError(
        f"The TIFF's samples are {kind}; supported are integers of 8, 16 and 32 bits (unsigned "
        "32-bit integers in little-endian files only) and floating-point numbers of 32 bits."
    )


def _tiff_sample_type(data: bytes) -> str | None:
    """Describe the sample type of a TIFF's first page in words; None if it is not stated."""
    try:
        directory = ImageFileDirectory_v2(data[:8])
        stream = io.BytesIO(data)
        stream.seek(directory.next)
        directory.load(stream)
        bits = int(directory[_BITS_PER_SAMPLE][0])
        kind = _SAMPLE_TYPES[int(directory.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0])]
    except Exception:  # noqa: BLE001 - whatever malformed bytes lead to: they do not say
        return None
    return f"{kind} of {bits} bits" if 0 < bits <= _MOST_BITS else None


def _check_header(image: Image.Image, limits: ReadingLimits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels or max(width, height) > limits.max_dimension:
        raise _too_large(f"{width} x {height} pixels", limits)
    if getattr(image, "n_frames", 1) > 1:
        raise UnsupportedImageError("The image has several frames or pages; only one is allowed.")
    if image.mode not in _SAMPLE_BITS:
        raise UnsupportedImageError("The image's sample layout is not supported.")
    if image.mode == "L" and _sample_format(image) != _UNSIGNED:
        raise UnsupportedImageError(
            "The TIFF's samples are signed 8-bit integers; only unsigned ones are supported."
        )


def _too_large(size: str, limits: ReadingLimits) -> ImageTooLargeError:
    return ImageTooLargeError(
        f"The image has {size}; at most {limits.max_pixels} in total and {limits.max_dimension} "
        "per side are allowed."
    )


def _decode(image: Image.Image, needed: Size | None, *, is_grey: bool = False) -> Mammogram:
    """Decode an image; of a JPEG that `is_grey`, colours are not decoded."""
    layout, size, bits = image.mode, image.size, _SAMPLE_BITS[image.mode]
    kind = image.format or ""
    factor = _reduction(image, needed) if needed is not None else 1
    drafted = max(1, factor // LEFT_TO_AREA)
    if drafted > 1 or is_grey:
        image.draft("L" if is_grey else None, (size[0] // drafted, size[1] // drafted))
    deep_colour = bits == 8 and any(";16" in str(tile) for tile in getattr(image, "tile", ()))
    image.load()
    drafted = round(max(size) / max(image.size))
    if drafted > 1:  # drop edge pixels that represent fewer source pixels than the others
        image = image.crop((0, 0, size[0] // drafted, size[1] // drafted))
    # Without an orientation tag there is nothing to do, and Pillow would copy the image.
    upright = image if _orientation(image) == 1 else ImageOps.exif_transpose(image)
    coloured = 0.0
    if bits <= 8:
        upright, coloured = _to_grey(upright)
    samples = np.asarray(upright)
    if deep_colour and np.ptp(samples) < LEAST_OCCUPIED * 255:
        raise UnsupportedImageError(
            "The image has 16-bit colour samples that use less than half of their range. Only 8 "
            "bits of them would be read; save the image as 16-bit grey."
        )
    if samples.dtype == np.int32 and _sample_format(image) == _UNSIGNED:
        samples = samples.view(np.uint32)
    pixels = on_occupied_range(_scale(_shrink(samples, factor // drafted)))
    notes = ("The image is coloured; mammograms are grey.",) if coloured else ()
    facts = SourceFacts(
        format=kind,
        width=size[0],
        height=size[1],
        bits=bits,
        mode=layout,
        coloured=coloured,
    )
    return Mammogram(pixels=np.ascontiguousarray(pixels), source=facts, warnings=notes)


def _sample_format(image: Image.Image) -> int:
    """Sample format of a TIFF; other formats have unsigned integers."""
    tags = getattr(image, "tag_v2", {})
    return int(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0])


def _orientation(image: Image.Image) -> int:
    return int(image.getexif().get(_ORIENTATION, 1))


def _reduction(image: Image.Image, needed: Size) -> int:
    width, height = image.size
    shape = (width, height) if _orientation(image) in _QUARTER_TURNS else (height, width)
    return reduction_for(shape, needed)


def _shrink(samples: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """Shrink by averaging samples; 8 bits become 16."""
    if samples.dtype.itemsize > 2:
        return samples
    if samples.dtype.itemsize == 2:
        samples = widened(np.asarray(samples, dtype=np.uint16))
    if factor < 2:
        return samples
    if samples.dtype == np.uint8:
        # 16 bits keep the fractions of the means.
        samples = np.multiply(samples, 257, dtype=np.uint16)
    return shrink(samples, factor)


def _scale(samples: npt.NDArray[Any]) -> Grey:
    """Scale samples to [0, 1], by the maximum of their type if it is known, else by their range."""
    if samples.dtype.kind == "u" and samples.dtype.itemsize <= 2:
        largest = np.float32(np.iinfo(samples.dtype).max)
        return np.asarray(np.divide(samples, largest, dtype=np.float32))
    deep = samples.astype(np.float32)
    if not np.isfinite(deep).all():
        raise CorruptImageError("The image has samples that are not finite numbers.")
    low, high = float(deep.min()), float(deep.max())
    if samples.dtype.kind in "ui" and low >= 0.0 and high <= 65535.0:
        return np.asarray(deep / 65535.0, dtype=np.float32)
    if samples.dtype.kind == "f" and low >= 0.0 and high <= 1.0:
        return deep
    if high == low:
        return np.zeros_like(deep)
    return np.asarray(np.clip((deep - low) / (high - low), 0.0, 1.0), dtype=np.float32)


def _to_grey(image: Image.Image) -> tuple[Image.Image, float]:
    """Reduce to 8-bit grey; also return the share of the image that was coloured."""
    if image.mode in ("L", "1"):
        return image.convert("L"), 0.0
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        rgb = Image.alpha_composite(black, rgba).convert("RGB")
    else:
        rgb = image.convert("RGB")
    small = np.asarray(rgb.resize((64, 64), Image.Resampling.BOX), dtype=np.int16)
    spread = small.max(axis=2) - small.min(axis=2)
    return rgb.convert("L"), float((spread > _COLOUR_TOLERANCE * 255).mean())
