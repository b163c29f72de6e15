"""Elements of a DICOM object as plain values; malformed elements count as missing."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.tag import Tag

TAGS: Final = (
    "BitsAllocated",
    "BitsStored",
    "BodyPartExamined",
    "BreastImplantPresent",
    "BurnedInAnnotation",
    "Columns",
    "ConversionType",
    "EstimatedRadiographicMagnificationFactor",
    "FieldOfViewHorizontalFlip",
    "FrameLaterality",
    "HighBit",
    "ImageLaterality",
    "ImageType",
    "IssuerOfPatientID",
    "Laterality",
    "Manufacturer",
    "Modality",
    "ModalityLUTSequence",
    "NumberOfFrames",
    "OrganExposed",
    "PartialView",
    "PatientAge",
    "PatientID",
    "PatientOrientation",
    "PhotometricInterpretation",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PresentationIntentType",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SOPClassUID",
    "SamplesPerPixel",
    "StudyInstanceUID",
    "VOILUTFunction",
    "VOILUTSequence",
    "ViewCodeSequence",
    "ViewModifierCodeSequence",
    "ViewPosition",
    "WindowCenter",
    "WindowWidth",
)
"""Keywords of all elements ever read, besides the pixels."""

TAG_NUMBERS: Final = tuple(int(Tag(keyword)) for keyword in TAGS)


DECIMAL_STRINGS: Final = (
    "EstimatedRadiographicMagnificationFactor",
    "RescaleIntercept",
    "RescaleSlope",
    "WindowCenter",
    "WindowWidth",
)
"""Keywords of elements that store numbers as text."""


class Header:
    """The elements of an object, or of one item of a sequence.

    Parameters
    ----------
    elements
        The elements that were read.
    little_endian
        Byte order of numbers whose representation depends on other elements.
    """

    def __init__(self, elements: Dataset, *, little_endian: bool) -> None:
        self._elements = elements
        self._order = "<" if little_endian else ">"
        self._little = little_endian

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Return a text element's values, upper case and unpadded; empty if it is missing."""
        value = self._value(keyword)
        if value is None:
            return ()
        values = [value] if isinstance(value, str) else self._listed(value)
        return tuple(str(each).strip(" \0").upper() for each in values)

    def identifier(self, keyword: str) -> str:
        """Return an identifier unchanged but unpadded; empty if it is missing."""
        value = self._value(keyword)
        return str(value).strip(" \0") if value is not None else ""

    def text(self, keyword: str) -> str:
        """Return the first value of a text element; empty if it is missing."""
        return next(iter(self.texts(keyword)), "")

    def numbers(self, keyword: str, *, signed: bool = False) -> tuple[float, ...]:
        """Return the finite values of a numeric element; empty if it is missing or malformed.

        ``signed`` sets the representation of elements whose sign the standard leaves open.
        """
        value = self._value(keyword)
        if value is None:
            return ()
        if isinstance(value, bytes):
            kind = f"{self._order}{'i' if signed else 'u'}2"
            usable = len(value) // 2 * 2
            return tuple(float(word) for word in np.frombuffer(value[:usable], kind))
        try:
            numbers = tuple(float(each) for each in self._listed(value))
        except (TypeError, ValueError, OverflowError):
            return ()
        return numbers if np.isfinite(numbers).all() else ()

    def decimals(self, keyword: str) -> tuple[float | None, ...]:
        """Return the values of a decimal string; None for each that is not a finite number.

        Unlike in `numbers`, one malformed value does not discard the others.
        """
        element = self._elements.get_item(keyword)
        value = getattr(element, "value", None)
        if isinstance(value, bytes):
            return tuple(_decimal(text) for text in value.decode("latin-1").split("\\"))
        return () if value is None else tuple(_decimal(each) for each in self._listed(value))

    def number(self, keyword: str, *, signed: bool = False) -> float | None:
        """Return the first value of a numeric element, or the first well-formed decimal."""
        first = next(iter(self.numbers(keyword, signed=signed)), None)
        if first is None and keyword in DECIMAL_STRINGS:
            first = next((each for each in self.decimals(keyword) if each is not None), None)
        return first

    def whole(self, keyword: str) -> int | None:
        """Return the first value of a numeric element if it is a whole number."""
        number = self.number(keyword)
        return int(number) if number is not None and number == int(number) else None

    def words(
        self, keyword: str, entries: int, *, in_bytes: bool = False
    ) -> npt.NDArray[np.uint16] | None:
        """Return a look-up table's entries as stored, uint16 (`entries`,); None if too few.

        ``in_bytes`` allows entries of one byte if there are too few words.
        """
        value = self._value(keyword)
        if isinstance(value, bytes):
            if len(value) >= 2 * entries:
                return np.frombuffer(value[: 2 * entries], f"{self._order}u2").astype(np.uint16)
            if in_bytes and len(value) >= entries:
                return np.frombuffer(value[:entries], np.uint8).astype(np.uint16)
            return None
        numbers = self.numbers(keyword)
        if len(numbers) < entries:
            return None
        return (np.array(numbers[:entries]).astype(np.int64) & 0xFFFF).astype(np.uint16)

    def items(self, keyword: str) -> "tuple[Header, ...]":
        """Return the items of a sequence; empty if it is missing or malformed."""
        value = self._value(keyword)
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            return ()
        return tuple(
            Header(item, little_endian=self._little) for item in value if isinstance(item, Dataset)
        )

    def codes(self, keyword: str) -> tuple[str, ...]:
        """Return the code values of a code sequence, from any coding scheme."""
        return tuple(code for item in self.items(keyword) if (code := item.text("CodeValue")))

    def _value(self, keyword: str) -> object:
        # pydicom's converters raise many kinds of exceptions for malformed values. The caller
        # refuses a missing value if it needs it, so a malformed one can count as missing.
        try:
            return self._elements.get(keyword)
        except Exception:  # noqa: BLE001
            return None

    @staticmethod
    def _listed(value: object) -> list[Any]:
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            return list(value)
        return [value]


def _decimal(value: object) -> float | None:
    try:
        number = float(str(value).strip(" \0"))
    except (ValueError, OverflowError):
        return None
    return number if np.isfinite(number) else None
