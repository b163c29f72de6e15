"""Damage in lossless JPEG is refused; intact data of any encoder are not."""

import struct
from contextlib import suppress

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate, generate_frames

from mammoscope.errors import CorruptImageError
from mammoscope.imaging.dicom.codestreams import without_padding
from mammoscope.imaging.dicom.lossless_jpeg import require_intact
from mammoscope.imaging.reading import read
from mammoscope.phantoms.dicom import Encoding
from tests.dicom_objects import mammogram_object, parsed, written

LOSSLESS = ("jpeg-lossless", "jpeg-lossless-sv1")
CODE_BITS = 5
"""The encoder below gives each of the 17 categories a code of this length."""


def encoded(
    samples: np.ndarray, precision: int, predictor: int, transform: int, rows: int
) -> bytes:
    """Encode slowly and plainly, as ITU-T T.81 annex H describes it, with restarts after `rows`."""
    height, width = samples.shape
    values = (samples.astype(int) >> transform).tolist()
    data = b""
    bits = ""
    for y in range(height):
        start = y == 0 or (rows and y % rows == 0)
        if start and y:
            data += packed(bits) + bytes([0xFF, 0xD0 + (y // rows - 1) % 8])
            bits = ""
        for x in range(width):
            a = values[y][x - 1]
            b, c = values[y - 1][x], values[y - 1][x - 1]
            if start:
                guess = a if x else 1 << (precision - transform - 1)
            elif x == 0:
                guess = b
            else:
                guess = [a, b, c, a + b - c, a + ((b - c) >> 1), b + ((a - c) >> 1), (a + b) >> 1][
                    predictor - 1
                ]
            difference = (values[y][x] - guess) % 65536
            if difference > 32768:
                difference -= 65536
            category = abs(difference).bit_length()
            bits += f"{category:0{CODE_BITS}b}"
            if 0 < category < 16:
                further = difference if difference > 0 else difference + (1 << category) - 1
                bits += f"{further:0{category}b}"
    data += packed(bits)
    table = bytes([0, *(17 if length == CODE_BITS else 0 for length in range(1, 17)), *range(17)])
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xC3, struct.pack(">BHHB3B", precision, height, width, 1, 1, 0x11, 0)),
            segment(0xC4, table),
            segment(0xDD, struct.pack(">H", rows * width)) if rows else b"",
            segment(0xDA, bytes([1, 1, 0, predictor, 0, transform])),
            data,
            b"\xff\xd9",
        ]
    )


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def packed(bits: str) -> bytes:
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1, 12), st.integers(2, 12)),
    coding=st.tuples(st.integers(2, 16), st.integers(1, 7), st.integers(0, 1), st.integers(0, 5)),
)
@settings(max_examples=200, deadline=None)
def test_intact_data_pass_and_other_lengths_do_not(seed, size, coding):
    precision, _, transform, _ = coding
    samples = np.random.default_rng(seed).integers(0, 1 << precision, size).astype(np.uint16)
    samples = samples >> transform << transform
    data = encoded(samples, *coding)
    decoded = np.asarray(imagecodecs.jpeg_decode(data))
    assert np.array_equal(decoded, samples)
    require_intact(data, decoded)
    too_long = data[:-2] + bytes(len(samples) + 1) + data[-2:]
    too_short = data[:-3] + data[-2:]
    # Each restart has padding of its own, in which a byte may hide.
    for other in (too_long,) if coding[-1] else (too_long, too_short):
        with pytest.raises(CorruptImageError):
            require_intact(other, decoded)


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("seed", range(4))
def test_damage_is_refused(name, seed):
    rng = np.random.default_rng(seed)
    silent = 0
    for bits in (8, 12, 16):
        data = mammogram_object(Encoding(name, bits=bits), seed=seed)
        pixels = read(data).pixels
        elements = parsed(data)
        frame = without_padding(next(generate_frames(elements.PixelData, number_of_frames=1)))
        at = int(rng.integers(300, len(frame) // 2))
        noise = rng.bytes(200).replace(b"\xff", b"\xfe")
        for damaged in (
            frame[:at] + bytes(100) + frame[at + 100 :],
            frame[:at] + frame[at + 100 :],
            frame[:at] + frame[at - 100 :],
            frame[:at] + noise + frame[at + 200 :],
            frame[:at] + frame[-2:],
        ):
            elements.PixelData = encapsulate([damaged])
            with suppress(CorruptImageError):
                silent += not np.array_equal(read(written(elements)).pixels, pixels)
    # Of 15; other data can have the same length by chance.
    assert silent <= 1
