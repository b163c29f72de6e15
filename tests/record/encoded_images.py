"""The images of the record: phantoms in every format, and refused images."""

import io
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import cv2
import numpy as np
from PIL import Image

from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.phantoms.dicom import Encoding, encode_phantom
from mammoscope.phantoms.dicom.encoding import SYNTAXES
from mammoscope.phantoms.drawing import Phantom, PhantomConfig, draw_phantom
from tests.dicom_objects import changed

_LEFT, _RIGHT = Laterality.LEFT, Laterality.RIGHT
_CC, _MLO = View.CRANIO_CAUDAL, View.MEDIO_LATERAL_OBLIQUE

PHANTOMS = {
    "left CC": PhantomConfig(3, _LEFT, _CC, height=640, width=512),
    "left MLO mass": PhantomConfig(3, _LEFT, _MLO, mass=True, height=640, width=512),
    "right CC mass": PhantomConfig(5, _RIGHT, _CC, mass=True, calcifications=True,
                                   height=640, width=512),
    "right MLO": PhantomConfig(5, _RIGHT, _MLO, label_text=False, height=640, width=512),
    # Large enough to be read reduced.
    "large": PhantomConfig(7, _RIGHT, _MLO, mass=True, height=1280, width=1216),
}  # fmt: skip

_BITS = {"jpeg": 8, "htj2k": 16, "htj2k-lossy": 16}
_REDUCED = ("explicit", "rle", "jpeg", "jpeg-lossless", "jpeg-ls", "jpeg-2000", "jpeg-2000-lossy",
            "htj2k", "htj2k-lossy")  # fmt: skip

Grey = np.ndarray[Any, Any]


@cache
def phantom(name: str) -> Phantom:
    return draw_phantom(PHANTOMS[name])


def grey8(name: str) -> Grey:
    return np.asarray(np.rint(phantom(name).pixels * 255), np.uint8)


def grey16(name: str) -> Grey:
    return np.asarray(np.rint(phantom(name).pixels * 65535), np.uint16)


def encoded(pixels: Grey, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def png8(name: str) -> bytes:
    return encoded(grey8(name), "PNG")


def jpeg(name: str) -> bytes:
    return encoded(grey8(name), "JPEG", quality=92)


_RASTER: dict[str, Callable[[str], bytes]] = {
    "PNG of 8 bits": png8,
    "PNG of 16 bits": lambda name: encoded(grey16(name), "PNG"),
    "JPEG": jpeg,
    "TIFF of 8 bits": lambda name: encoded(grey8(name), "TIFF"),
    "TIFF of 16 bits": lambda name: encoded(grey16(name), "TIFF"),
}


def dicom(name: str, syntax: str = "explicit", **options: Any) -> bytes:
    return encode_phantom(phantom(name), Encoding(**{
        "syntax": syntax, "bits": _BITS.get(syntax, 12), **options
    }))  # fmt: skip


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(np.rot90(grey8("left CC")), "JPEG", quality=92, exif=exif)


def _odd() -> dict[str, Callable[[], bytes]]:
    """Unusual copies of one phantom."""
    grey = grey8("left CC")
    return {
        "RGB JPEG": lambda: encoded(np.dstack([grey] * 3), "JPEG", quality=92),
        "inverted PNG": lambda: encoded(255 - grey, "PNG"),
        "JPEG turned by EXIF": _turned,
        "float TIFF": lambda: encoded(phantom("left CC").pixels, "TIFF"),
        "stretched PNG": lambda: encoded(cv2.resize(grey, (640, 640)), "PNG"),
        "padded PNG": lambda: encoded(np.pad(grey, 40, constant_values=255), "PNG"),
        "coloured mark": lambda: encoded(_marked(np.dstack([grey] * 3)), "PNG"),
        "DICOM that says the other side": lambda: changed(
            dicom("left CC"), ImageLaterality="R", PatientOrientation=["P", "R"]
        ),
        "DICOM of an unknown view": lambda: changed(
            dicom("left CC"), ViewPosition="XX", ViewCodeSequence=None
        ),
        "DICOM of a part of the breast": lambda: changed(dicom("left CC"), PartialView="YES"),
        "DICOM with implant and old age": lambda: changed(
            dicom("left CC"), PatientAge="093Y", BreastImplantPresent="YES"
        ),
    }


def _marked(pixels: Grey) -> Grey:
    pixels[20:60, 400:440] = (255, 0, 0)
    return pixels


def _lettered(pixels: Grey) -> Grey:
    return cv2.putText(pixels.copy(), "R", (60, 340), cv2.FONT_HERSHEY_SIMPLEX, 4, 255, 8)


@cache
def accepted() -> Mapping[str, bytes]:
    """Return encoded mammograms by name."""
    made: dict[str, Callable[[], bytes]] = {
        f"{name}, {kind}": partial(make, name)
        for name in PHANTOMS
        for kind, make in _RASTER.items()
    }
    made |= {f"{name}, DICOM": partial(dicom, name) for name in PHANTOMS if name != "left CC"}
    for syntax in SYNTAXES:
        for number in (1, 2):
            made[f"left CC, DICOM {syntax} MONOCHROME{number}"] = partial(
                dicom, "left CC", syntax, inverted=number == 1
            )
    for syntax in _REDUCED:
        made[f"large, DICOM {syntax}"] = partial(dicom, "large", syntax)
    for window in ("LINEAR_EXACT", "SIGMOID", None):
        made[f"left CC, DICOM window {window}"] = partial(dicom, "left CC", window=window)
    made["left CC, DICOM signed of 16 bits"] = partial(dicom, "left CC", bits=16, signed=True)
    made["left CC, DICOM of 8 bits"] = partial(dicom, "left CC", bits=8)
    made |= {f"left CC, {name}": make for name, make in _odd().items()}
    return {name: make() for name, make in made.items()}


def refused() -> dict[str, bytes]:
    """Return other bytes by name."""
    random = np.random.default_rng(0)
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    drawn = np.zeros((640, 512), np.uint8)
    cv2.ellipse(drawn, (0, 320), (300, 250), 0, 0, 360, 180, -1)
    plain = dicom("left CC", "jpeg-ls")
    return {
        "blank, black": encoded(np.zeros((640, 512), np.uint8), "PNG"),
        "blank, white": encoded(np.full((640, 512), 255, np.uint8), "PNG"),
        "noise": encoded(random.integers(0, 256, (640, 512), np.uint8), "PNG"),
        "too small, 8 x 8": encoded(ramp[:8, :8] * 30, "PNG"),
        "too small, one pixel": encoded(ramp[:1, :1], "PNG"),
        "too large": encoded(np.zeros((1, 20_000), np.uint8), "PNG"),
        "a ramp of colours": encoded(np.dstack([ramp, ramp.T, 255 - ramp]), "PNG"),
        "a drawn ellipse": encoded(drawn, "PNG"),
        "a drawn ellipse with text": encoded(_lettered(drawn), "PNG"),
        "no bytes": b"",
        "a text": b"not an image",
        "a GIF": encoded(ramp, "GIF"),
        "a TIFF of two pages": encoded(
            ramp, "TIFF", save_all=True, append_images=[Image.fromarray(ramp)]
        ),
        "truncated PNG": png8("left CC")[:-3000],
        "truncated JPEG": jpeg("left CC")[:-3000],
        "truncated header": png8("left CC")[:20],
        "truncated DICOM": plain[:-3000],
        "DICOM header alone": plain[:400],
        "DICOM of a CT": changed(plain, Modality="CT"),
        "DICOM for processing": changed(plain, PresentationIntentType="FOR PROCESSING"),
        "DICOM of several frames": changed(plain, NumberOfFrames=2),
        "DICOM without pixels": changed(plain, PixelData=None),
    }
