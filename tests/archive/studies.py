"""Studies of phantoms for the tests of the archive."""

import io
from functools import cache

import pydicom

from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.phantoms.dicom import Encoding, encode_phantom
from mammoscope.phantoms.drawing import Phantom, PhantomConfig, draw_phantom

VIEWS = [(side, view) for side in ("L", "R") for view in ("CC", "MLO")]


@cache
def study(seed: int = 0, syntax: str = "explicit", views: int = 4) -> tuple[bytes, ...]:
    """Views of a woman as DICOM files."""
    bits = 8 if syntax == "jpeg" else 12
    encoding = Encoding(syntax, bits)
    return tuple(encode_phantom(_phantom(seed, *place), encoding) for place in VIEWS[:views])


@cache
def _phantom(seed: int, side: str, view: str) -> Phantom:
    config = PhantomConfig(seed, Laterality(side), View(view), height=480, width=360)
    return draw_phantom(config)


def changed(file: bytes, **elements: object) -> bytes:
    """The file with other values of elements."""
    dataset = pydicom.dcmread(io.BytesIO(file))
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
        if keyword in ("SOPClassUID", "SOPInstanceUID"):
            setattr(dataset.file_meta, f"MediaStorage{keyword}", value)
    stream = io.BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


def header(file: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True)


def uid_of(file: bytes) -> str:
    return str(header(file).SOPInstanceUID)


def study_uid_of(file: bytes) -> str:
    return str(header(file).StudyInstanceUID)
