"""Invalid images, oversized images and images of other objects."""

import io
import math
import zipfile
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.abuse.images import DEEP, GREY, IMAGE, JPEG, PIXELS, bomb, encode, with_chunk, zeros
from tests.abuse.service import PLANTED, Abused, assert_refused
from tests.imaging.test_quality import photographs, radiographs, text_page

pytestmark = pytest.mark.abuse("image")

TIFF = encode(GREY, "TIFF")
NEAR = 0.02
"""Maximum difference in probability between encodings of one image."""


def send(abused: Abused, image: bytes, name: str = "a.png") -> Any:
    return abused.ask(files={"file": (name, image)})


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr("a.png", IMAGE)
    return stream.getvalue()


def grey(pixels: np.ndarray) -> bytes:
    scaled = np.rint(np.clip(pixels.astype(np.float64), 0, 1) * 255).astype(np.uint8)
    return encode(Image.fromarray(scaled))


def frames(kind: str) -> bytes:
    other = Image.fromarray(255 - np.asarray(GREY))
    return encode(GREY, kind, save_all=True, append_images=[other, GREY])


def size_of_one() -> bytes:
    return encode(Image.new("L", (1, 1), 128))


NOT_READ: dict[str, Callable[[], bytes]] = {
    "HTML": lambda: b"<!doctype html><html><body>Log in</body></html>",
    "text": PLANTED.encode,
    "SVG": lambda: b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    "SVG of a bomb": lambda: b'<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><svg>&c;</svg>',
    "EPS": lambda: encode(GREY, "EPS"),
    "PDF": lambda: encode(GREY, "PDF"),
    "GIF": lambda: encode(GREY, "GIF"),
    "animated GIF": lambda: frames("GIF"),
    "WebP": lambda: encode(GREY, "WEBP"),
    "BMP": lambda: encode(GREY, "BMP"),
    "PPM": lambda: encode(GREY, "PPM"),
    "ICO": lambda: encode(GREY, "ICO"),
    "JPEG 2000": lambda: encode(GREY, "JPEG2000"),
    "TGA": lambda: encode(GREY, "TGA"),
    "ZIP": archive,
    "ZIP before an image": lambda: archive() + IMAGE,
    "animated PNG": lambda: frames("PNG"),
    "TIFF of several pages": lambda: frames("TIFF"),
}
CORRUPT: dict[str, Callable[[], bytes]] = {
    "JPEG of a head alone": lambda: JPEG[:20],
    "half a JPEG": lambda: JPEG[: len(JPEG) // 2],
    "JPEG without its end": lambda: JPEG[:-500],
    "PNG of a head alone": lambda: IMAGE[:33],
    "half a PNG": lambda: IMAGE[: len(IMAGE) // 2],
    "PNG without its end": lambda: IMAGE[:-200],
    "PNG of a wrong checksum": lambda: IMAGE[:40] + b"\xff" + IMAGE[41:],
    "half a TIFF": lambda: TIFF[: len(TIFF) // 2],
    "TIFF that is a page": lambda: b"II*\0<html><script>alert(1)</script></html>",
    "TIFF that is an archive": lambda: b"II*\0" + archive(),
    "TIFF that points behind its end": lambda: b"II*\0\xff\xff\xff\x7f",
    "TIFF that points at itself": lambda: b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
    "text bomb": lambda: with_chunk(b"zTXt", b"a\0\0" + zeros(20_000_000)),
    "text bomb in any language": lambda: with_chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(20_000_000)),
}
TOO_LARGE: dict[str, Callable[[], bytes]] = {
    "400 megapixels": lambda: bomb(20_000, 20_000, rows=20_000),
    "beside Pillow's first mark": lambda: bomb(9_500, 9_500, rows=100),
    "between Pillow's marks": lambda: bomb(12_000, 12_000, rows=100),
    "over the pixels by a row": lambda: bomb(7_072, 7_072, rows=100),
    "too wide": lambda: bomb(60_000, 1, rows=1),
    "too high": lambda: bomb(1, 60_000, rows=60_000),
}


@pytest.mark.parametrize("case", NOT_READ)
def test_unsupported_formats_are_refused(abused: Abused, case: str) -> None:
    image = NOT_READ[case]()
    assert_refused(send(abused, image, f"{PLANTED}.png"), 415, "unsupported_image")
    typed = abused.ask(data=image, headers={"Content-Type": "image/jpeg"})
    assert_refused(typed, 415, "unsupported_image")


@pytest.mark.parametrize("case", CORRUPT)
def test_damaged_images(abused: Abused, case: str) -> None:
    assert_refused(send(abused, CORRUPT[case](), f"{PLANTED}.jpg"), 422, "corrupt_image")


@pytest.mark.parametrize("case", TOO_LARGE)
def test_bombs(abused: Abused, case: str) -> None:
    image = TOO_LARGE[case]()
    assert len(image) < 400_000
    assert_refused(send(abused, image), 413, "image_too_large")


def test_empty_image_is_refused(abused: Abused) -> None:
    assert_refused(send(abused, b""), 422, "empty_image")


def in_colour(mode: str) -> bytes:
    return encode(GREY.convert(mode), "JPEG" if mode == "CMYK" else "PNG")


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 8  # Orientation: to be turned by 270 degrees clockwise
    return encode(GREY.transpose(Image.Transpose.ROTATE_270), "PNG", exif=exif)


ALIKE: dict[str, Callable[[], bytes]] = {
    "16 bits": lambda: encode(DEEP),
    "16 bits as TIFF": lambda: encode(DEEP, "TIFF"),
    "12 bits in 16": lambda: encode(Image.fromarray(np.rint(PIXELS * 4095).astype(np.uint16))),
    "palette": lambda: in_colour("P"),
    "alpha": lambda: in_colour("LA"),
    "colours and alpha": lambda: in_colour("RGBA"),
    "colours": lambda: in_colour("RGB"),
    "CMYK": lambda: in_colour("CMYK"),
    "rotated by EXIF": rotated,
    "progressive": lambda: encode(GREY, "JPEG", quality=95, progressive=True),
    "something behind its end": lambda: IMAGE + archive(),
    "short text": lambda: with_chunk(b"tEXt", f"Comment\0{PLANTED}".encode()),
}


@pytest.mark.parametrize("case", ALIKE)
def test_encodings_of_one_image_score_alike(abused: Abused, case: str) -> None:
    answer = send(abused, ALIKE[case]())
    assert answer.status_code == 200, answer.text
    found = answer.json()["probability"]
    assert math.isclose(found, abused.well["probability"], abs_tol=NEAR)
    assert PLANTED not in answer.text


def test_flipping_one_bit_gives_an_answer_or_a_clear_refusal(abused: Abused) -> None:
    answer = send(abused, encode(GREY.convert("1")))
    if answer.status_code != 200:
        assert_refused(answer, 422, "not_a_mammogram")


RNG = np.random.default_rng(0)
OTHERS: dict[str, Callable[[], bytes]] = {
    "one pixel": size_of_one,
    "a row of pixels": lambda: encode(Image.new("L", (300, 1), 128)),
    "black": lambda: grey(np.zeros((400, 300))),
    "white": lambda: grey(np.ones((400, 300))),
    "noise": lambda: grey(RNG.random((400, 300))),
    "photograph in colour": lambda: encode(photographs()["grace_hopper"].convert("RGB"), "JPEG"),
    "photograph in grey": lambda: encode(photographs()["flower in grey"], "JPEG"),
    "page of text": lambda: encode(text_page(0)),
    **{
        f"radiograph: {name}": lambda name=name: grey(cv2.resize(radiographs()[name], (300, 400)))
        for name in ("head", "chest", "MRI slice")
    },
}


@pytest.mark.parametrize("case", OTHERS)
def test_images_of_other_objects_are_refused(abused: Abused, case: str) -> None:
    answer = send(abused, OTHERS[case](), f"{PLANTED}.png")
    assert answer.status_code == 422, answer.text
    assert_refused(answer, 422, answer.json()["code"])
    assert answer.json()["code"] in {"no_breast", "not_a_mammogram"}
