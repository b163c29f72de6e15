"""Damage of compressed PNG and TIFF that Pillow passes over is refused or gives a warning."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from mammoscope.errors import CorruptImageError
from mammoscope.imaging.reading import read
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom

PNG = [("PNG", mode, None) for mode in ("L", "I;16", "RGB", "P", "RGBA", "1")]
TIFF = [
    ("TIFF", mode, compression)
    for compression, modes in {
        "tiff_adobe_deflate": ("L", "I;16", "RGB", "F", "1", "CMYK"),
        "tiff_deflate": ("L", "I;16"),
        "packbits": ("L", "I;16", "RGB", "1"),
        "jpeg": ("L", "RGB"),
    }.items()
    for mode in modes
]
UNCHECKED = [("TIFF", mode, each) for mode in ("L", "I;16") for each in (None, "tiff_lzw")]


@pytest.fixture(scope="module")
def phantoms() -> list[np.ndarray]:
    configs = [PhantomConfig(seed=seed, height=480, width=391) for seed in range(3)]
    return [draw_phantom(config).pixels for config in configs]


def encoded(pixels: np.ndarray, kind: str, mode: str, compression: str | None) -> bytes:
    grey = Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
    match mode:
        case "I;16":
            image = Image.fromarray(np.rint(pixels * 65535).astype(np.uint16))
        case "F":
            image = Image.fromarray(pixels.astype(np.float32))
        case _:
            image = grey.convert(mode)
    stream = io.BytesIO()
    image.save(stream, kind, **({"compression": compression} if compression else {}))
    return stream.getvalue()


def unremarked(data: bytes, whole: np.ndarray) -> bool:
    """Whether damage changes the image without a word."""
    try:
        found = read(data)
    except CorruptImageError:
        return False
    return not found.warnings and np.abs(found.pixels - whole).mean() > 1e-3


@pytest.mark.parametrize(("kind", "mode", "compression"), [*PNG, *TIFF, *UNCHECKED])
def test_intact_images_are_read_without_a_warning(phantoms, kind, mode, compression):
    for pixels in phantoms:
        assert read(encoded(pixels, kind, mode, compression)).warnings == ()


@pytest.mark.parametrize(("kind", "mode", "compression"), [*PNG, *TIFF])
def test_damage_is_refused_or_gives_a_warning(phantoms, kind, mode, compression):
    silent = []
    for seed, pixels in enumerate(phantoms):
        data = encoded(pixels, kind, mode, compression)
        whole = read(data).pixels
        for share in (0.2, 0.35, 0.5, 0.65, 0.8):
            at = int(share * len(data))
            damaged = {"zeros": data[:at] + bytes(100) + data[at + 100 :]}
            if compression != "jpeg":  # it has no checksum: other bytes may be image data
                damaged["few zeros"] = data[:at] + bytes(20) + data[at + 20 :]
                damaged["ones"] = data[:at] + b"\xff" * 100 + data[at + 100 :]
            silent += [
                (seed, share, name) for name, each in damaged.items() if unremarked(each, whole)
            ]
    assert silent == []


def test_a_png_with_a_wrong_checksum_is_refused(phantoms):
    data = encoded(phantoms[0], *PNG[0])
    at = data.index(b"IDAT")
    length = int.from_bytes(data[at - 4 : at], "big")
    checksum = zlib.crc32(data[at : at + 4 + length]).to_bytes(4, "big")
    assert data[at + 4 + length : at + 8 + length] == checksum
    with pytest.raises(CorruptImageError, match="checksum"):
        read(data[: at + 4 + length] + b"\0\0\0\0" + data[at + 8 + length :])


def test_a_png_without_its_end_and_with_bytes_behind_it_is_read(phantoms):
    data = encoded(phantoms[0], *PNG[0])
    whole = read(data).pixels
    for changed in (data[: data.rindex(b"IEND") - 4], data + b"text"):
        assert np.array_equal(read(changed).pixels, whole)
