"""An image on any scale gives the same network input, or a refusal that names the type."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from mammoscope.errors import UnsupportedImageError
from mammoscope.imaging.grey_range import on_occupied_range, widened
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.reading import read
from mammoscope.phantoms.dicom import Encoding, encode_image
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom

SIZE = (192, 144)
CONFIGS = [
    PhantomConfig(
        seed=seed,
        laterality=list(Laterality)[seed % 2],
        view=(View.CRANIO_CAUDAL, View.MEDIO_LATERAL_OBLIQUE)[seed // 3],
        mass=seed % 3 == 0,
        height=400,
        width=(320, 400)[seed % 2],
        label_text=False,
    )
    for seed in range(6)
]


@pytest.fixture(scope="module")
def phantoms() -> list[np.ndarray]:
    return [draw_phantom(config).pixels for config in CONFIGS]


def encoded(samples: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(samples).save(stream, kind)
    return stream.getvalue()


def eight_bits(pixels: np.ndarray) -> bytes:
    return encoded(np.rint(pixels * 255).astype(np.uint8))


def tiff(samples: np.ndarray) -> bytes:
    """An uncompressed TIFF of samples of any type and byte order."""
    order = samples.dtype.str[0].replace("|", "<")
    formats = {"u": 1, "i": 2, "f": 3}
    height, width = samples.shape
    data = samples.tobytes()
    tags = {256: width, 257: height, 258: 8 * samples.dtype.itemsize, 259: 1, 262: 1, 273: 8,
            277: 1, 278: height, 279: len(data), 339: formats[samples.dtype.kind]}  # fmt: skip
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, each) for tag, each in tags.items())
    magic = b"II*\0" if order == "<" else b"MM\0*"
    begin = struct.pack(f"{order}I", 8 + len(data))
    count = struct.pack(f"{order}H", len(tags))
    return magic + begin + data + count + entries + bytes(4)


def distance(data: bytes, reference: bytes) -> float:
    """Mean difference of two files' network inputs, in ranks of 1 to 255."""
    one, other = (preprocess(read(each), SIZE).pixels.astype(int) for each in (data, reference))
    return float(np.abs(one - other).mean())


@pytest.mark.parametrize("offset", [0, 1, 700, 30_000])
@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 15])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_few_bits_stored_in_16_are_stretched(phantoms, bits, offset, kind):
    for pixels in phantoms:
        samples = np.rint(pixels * (2**bits - 1)).astype(np.uint16) + np.uint16(offset)
        assert distance(encoded(samples, kind), eight_bits(pixels)) < 1.0


TYPES = {
    "full uint16": ("<u2", 65_535, 0),
    "12 bits in uint16": ("<u2", 4095, 0),
    "big-endian uint16": (">u2", 4095, 100),
    "int16": ("<i2", 65_535, -32_768),
    "12 bits in int16": ("<i2", 4095, -1024),
    "full uint32": ("<u4", 2**32 - 1, 0),
    "upper half of uint32": ("<u4", 2**31 - 1, 2**31),
    "12 bits in uint32": ("<u4", 4095, 0),
    "full int32": ("<i4", 2**32 - 1, -(2**31)),
    "12 bits in int32": ("<i4", 4095, -1024),
    "big-endian int32": (">i4", 4095, 0),
    "float to 1": ("<f4", 1, 0),
    "float to 1/16": ("<f4", 1 / 16, 0),
    "float to 1/16 from 1/2": ("<f4", 1 / 16, 0.5),
    "float to 255": ("<f4", 255, 0),
    "float to 4095": (">f4", 4095, -1024),
}


@pytest.mark.parametrize("name", TYPES)
def test_tiffs_of_other_sample_types_are_read(phantoms, name):
    kind, range_, offset = TYPES[name]
    for pixels in phantoms:
        scaled = pixels.astype(np.float64) * range_ + offset
        samples = (np.rint(scaled) if kind[1] != "f" else scaled).astype(kind)
        assert distance(tiff(samples), eight_bits(pixels)) < 1.0


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("<u8", "unsigned integers of 64 bits"),
        ("<i8", "signed integers of 64 bits"),
        ("<f2", "floating-point numbers of 16 bits"),
        ("<f8", "floating-point numbers of 64 bits"),
        (">u4", "unsigned integers of 32 bits"),
        ("i1", "signed 8-bit integers"),
    ],
)
def test_unsupported_sample_types_are_named(phantoms, kind, named):
    with pytest.raises(UnsupportedImageError, match=named):
        read(tiff((phantoms[0] * 100).astype(kind)))


def test_12_bit_colours_in_16_bits_are_refused(phantoms):
    full, few = (
        cv2.imencode(".png", np.dstack([np.rint(phantoms[0] * most).astype(np.uint16)] * 3))[1]
        for most in (65_535, 4095)
    )
    assert distance(full.tobytes(), eight_bits(phantoms[0])) < 1.0
    with pytest.raises(UnsupportedImageError, match="16-bit colour"):
        read(few.tobytes())


def marked(pixels: np.ndarray, ratio: float, *, block: bool, left: bool) -> np.ndarray:
    """An image whose breast is `ratio` times darker than a marker on the other side."""
    height, width = pixels.shape
    marker = np.zeros(pixels.shape, np.uint8)
    x = width // 20 if left else int(0.8 * width)
    if block:
        marker[20 : 20 + height // 14, x : x + width // 10] = 1
    else:
        cv2.putText(marker, "R CC", (x, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 1, 2)
    return np.where(marker > 0, np.float32(1), pixels / np.float32(ratio))


@pytest.mark.parametrize("ratio", [2, 5, 8, 16])
@pytest.mark.parametrize("block", [False, True])
def test_a_bright_marker_does_not_define_the_range(phantoms, ratio, block):
    for config, pixels in zip(CONFIGS, phantoms, strict=True):
        left = config.laterality is Laterality.RIGHT  # the breast is on the right
        shown = marked(pixels, ratio, block=block, left=left)
        deep = [np.rint(each * 65_535).astype(np.uint16) for each in (shown, 1 - shown)]
        copies = [encoded(each) for each in deep]
        copies += [
            encode_image(shown, config, Encoding(bits=16, window=window, inverted=inverted))
            for window, inverted in ((None, False), ("LINEAR", True))
        ]
        reference = eight_bits(marked(pixels, 1, block=block, left=left))
        # If the marker is part of the contrast, the crop may move by a search pixel.
        assert max(distance(each, reference) for each in copies) < 5.0


def test_images_that_occupy_half_of_the_range_are_unchanged(phantoms):
    for pixels in phantoms:
        half = np.clip(pixels * np.float32(0.6), 0, 1)
        half[0, 0] = 0.6
        assert on_occupied_range(half) is half
    samples = np.array([[0, 32_768]], np.uint16)
    assert widened(samples) is samples
    assert widened(np.array([[7, 7]], np.uint16)).tolist() == [[7, 7]]
    assert widened(np.array([[100, 355]], np.uint16)).tolist() == [[0, 65_535]]


def test_a_small_breast_on_a_noisy_background_is_not_a_marker():
    pixels = np.zeros((1200, 1200), np.float32)
    pixels[::2, ::2] = 0.01
    pixels[400:500, :100] = 1.0
    assert on_occupied_range(pixels) is pixels
