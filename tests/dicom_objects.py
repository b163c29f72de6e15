"""DICOM objects for tests: a small valid mammogram, and changes to one."""

import io
from functools import cache

import pydicom
from pydicom.dataset import Dataset

from mammoscope.phantoms.dicom import Encoding, encode_phantom
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom

AMBIGUOUS = {"PixelPaddingValue": "US", "PixelPaddingRangeLimit": "US"}


@cache
def mammogram_object(encoding: Encoding | None = None, **config) -> bytes:
    """A phantom's DICOM file, 256 x 208 pixels by default."""
    wanted = {"seed": 3, "height": 256, "width": 208, **config}
    return encode_phantom(draw_phantom(PhantomConfig(**wanted)), encoding)


def parsed(data: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def written(elements: Dataset) -> bytes:
    stream = io.BytesIO()
    elements.save_as(stream)
    return stream.getvalue()


def changed(data: bytes, **values) -> bytes:
    """The object with elements set by keyword, or removed if None."""
    elements = parsed(data)
    for keyword, value in values.items():
        if value is None:
            if keyword in elements:
                del elements[keyword]
            continue
        setattr(elements, keyword, value)
        if keyword in AMBIGUOUS:
            elements[keyword].VR = AMBIGUOUS[keyword]
    return written(elements)


def code(value: str, scheme: str = "SCT", **more) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "meaning"
    for keyword, each in more.items():
        setattr(item, keyword, each)
    return item
