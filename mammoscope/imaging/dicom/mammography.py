"""Read a DICOM file into a `Mammogram`: check, decode, apply the display pipeline."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from mammoscope.errors import (
    CorruptImageError,
    DecodingLimitError,
    ImageError,
    ImageTooLargeError,
    UnsupportedImageError,
)
from mammoscope.imaging.dicom.acceptance import require_mammogram
from mammoscope.imaging.dicom.acquisition import acquisition
from mammoscope.imaging.dicom.frames import Layout, decode
from mammoscope.imaging.dicom.geometry import geometry
from mammoscope.imaging.dicom.greyscale import display_values, displayed
from mammoscope.imaging.dicom.header import TAG_NUMBERS, Header
from mammoscope.imaging.dicom.part10 import Part10, take_apart
from mammoscope.imaging.dicom.pseudonyms import Pseudonyms
from mammoscope.imaging.display_values import DisplayValues, Window
from mammoscope.imaging.geometry import Geometry
from mammoscope.imaging.mammogram import Mammogram, SourceFacts, reduction_for
from mammoscope.settings.service import ReadingLimits


def read_dicom(
    data: bytes,
    limits: ReadingLimits,
    *,
    needed: tuple[int, int] | None = None,
    pseudonyms: Pseudonyms | None = None,
) -> Mammogram:
    """Decode one mammogram.

    Parameters
    ----------
    data
        A DICOM file (PS3.10) with one frame of grey values and modality MG.
    limits
        Maximum image size.
    needed
        Height and width in pixels required of the breast; the image is reduced by
        `mammoscope.imaging.mammogram.reduction_for`. None keeps full resolution.
    pseudonyms
        Makes pseudonyms of patient and study; None leaves both out.

    Raises
    ------
    ImageError
        `NotAMammogramError`, `UnsupportedImageError`, `CorruptImageError` or
        `ImageTooLargeError`; no other exception, whatever the bytes.
    """
    with typed_errors():
        part, header, layout = _opened(data, limits)
        taken = acquisition(header, pseudonyms)
        factor = reduction_for((layout.rows, layout.columns), needed) if needed else 1
        pixels, notes = displayed(decode(part, layout, factor), header, layout, factor)
        return Mammogram(
            pixels=pixels,
            source=SourceFacts(
                format="DICOM",
                width=layout.columns,
                height=layout.rows,
                bits=layout.stored,
                mode=header.text("PhotometricInterpretation"),
            ),
            laterality=taken.laterality,
            view=taken.view,
            warnings=(*taken.warnings, *notes),
            exposure=taken.exposure,
        )


def read_display(
    data: bytes, limits: ReadingLimits, *, needed: tuple[int, int] | None = None
) -> tuple[DisplayValues, Window, tuple[int, int], Geometry]:
    """Decode one mammogram to show it; parameters and errors are those of `read_dicom`.

    Returns
    -------
    tuple
        Grey values, window, height and width of the encoded image, and how it lies.
    """
    with typed_errors():
        part, header, layout = _opened(data, limits)
        size = (layout.rows, layout.columns)
        factor = reduction_for(size, needed) if needed else 1
        pixels, window = display_values(decode(part, layout, factor), header, layout, factor)
        taken = acquisition(header, None)
        return pixels, window, size, geometry(header, taken.laterality, taken.view)


def _opened(data: bytes, limits: ReadingLimits) -> tuple[Part10, Header, Layout]:
    """Take a file apart and refuse it where it is no mammogram."""
    part = take_apart(data, TAG_NUMBERS, limits)
    header = Header(part.elements, little_endian=part.little_endian)
    require_mammogram(header, header.identifier("SOPClassUID") or part.media_storage_class)
    return part, header, _layout(header, part, limits)


@contextmanager
def typed_errors() -> Iterator[None]:
    """Convert any exception of pydicom and the codecs into an `ImageError`."""
    try:
        with warnings.catch_warnings():  # the warnings quote values
            warnings.simplefilter("ignore")
            yield
    except (ImageError, KeyboardInterrupt):
        raise
    except MemoryError as err:
        raise DecodingLimitError("Reading the image needs more memory than allowed.") from err
    # Parsers and codecs raise many types; no list of them would be complete. Their messages quote
    # the data, so no message is passed on and no cause is attached.
    except Exception:  # noqa: BLE001
        raise CorruptImageError("The DICOM file is damaged or incomplete.") from None


def _layout(header: Header, part: Part10, limits: ReadingLimits) -> Layout:
    if part.pixels is None:
        raise UnsupportedImageError("The DICOM object has no pixels.")
    rows, columns = header.whole("Rows"), header.whole("Columns")
    allocated = header.whole("BitsAllocated")
    if not rows or not columns or rows < 0 or columns < 0 or allocated is None:
        raise CorruptImageError("The DICOM object does not state the image size.")
    if rows * columns > limits.max_pixels or max(rows, columns) > limits.max_dimension:
        raise ImageTooLargeError(
            f"The image has {columns} x {rows} pixels; at most {limits.max_pixels} in total and "
            f"{limits.max_dimension} per side are allowed."
        )
    if allocated not in (8, 16):
        raise UnsupportedImageError(
            f"The image has {allocated} bits per pixel; only 8 and 16 are supported in DICOM."
        )
    stored = header.whole("BitsStored")
    stored = allocated if stored is None else stored
    high_bit = header.whole("HighBit")
    high_bit = stored - 1 if high_bit is None else high_bit
    representation = header.whole("PixelRepresentation") or 0
    if not 1 < stored <= high_bit + 1 <= allocated or representation not in (0, 1):
        raise CorruptImageError("The DICOM object's bit elements contradict each other.")
    return Layout(rows, columns, allocated, stored, high_bit, signed=representation == 1)
