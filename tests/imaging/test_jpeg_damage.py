"""Damage in compressed JPEG data that libjpeg detects is refused or gives a warning."""

import io

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames

from mammoscope.errors import CorruptImageError
from mammoscope.imaging.jpeg_damage import DAMAGED, damage
from mammoscope.imaging.reading import read
from mammoscope.phantoms.dicom import Encoding, encode_phantom
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom
from tests.dicom_objects import parsed, written

MODES = ("L", "RGB", "CMYK", "progressive")


@pytest.fixture(scope="module")
def phantoms():
    return [draw_phantom(PhantomConfig(seed=seed, height=640, width=520)) for seed in range(4)]


def jpeg(pixels: np.ndarray, mode: str, **options) -> bytes:
    stream = io.BytesIO()
    grey = Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
    if mode == "progressive":
        grey.save(stream, "JPEG", progressive=True, quality=90, **options)
    else:
        grey.convert(mode).save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


def zeroed(data: bytes, share: float, count: int) -> bytes:
    begin = data.index(b"\xff\xda") + 20
    at = begin + int(share * (len(data) - begin - count - 2))
    return data[:at] + bytes(count) + data[at + count :]


def grey_pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("L")).astype(float)


def unremarked(data: bytes) -> bool:
    try:
        return DAMAGED not in read(data, needed=(299, 299)).warnings
    except CorruptImageError:
        return False


@pytest.mark.parametrize("mode", MODES)
def test_intact_images_give_no_warning(phantoms, mode):
    for phantom in phantoms:
        for options in ({}, {"optimize": True}, {"restart_marker_rows": 1}, {"subsampling": 2}):
            assert read(jpeg(phantom.pixels, mode, **options)).warnings == ()


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_zeroed_bytes_that_change_the_image_are_detected(phantoms, mode, optimize):
    silent = []
    for seed, phantom in enumerate(phantoms):
        whole = jpeg(phantom.pixels, mode, optimize=optimize)
        pixels = grey_pixels(whole)
        for share in (0.1, 0.3, 0.5, 0.6, 0.7, 0.9):
            for count in (100, 400) if mode == "progressive" else (20, 100, 400):
                damaged = zeroed(whole, share, count)
                # A scan may have one bit of each block's mean, which changes no score.
                if unremarked(damaged) and np.abs(grey_pixels(damaged) - pixels).mean() > 0.05:
                    silent.append((seed, share, count))
    assert silent == []


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_heavy_damage_is_refused(phantoms, mode):
    for phantom in phantoms:
        data = jpeg(phantom.pixels, mode)
        middle = len(data) // 2
        with pytest.raises(CorruptImageError):
            read(data[:middle] + data[middle + 3000 :])


def test_extraneous_bytes_give_a_warning(phantoms):
    for phantom in phantoms:
        data = jpeg(phantom.pixels, "L")
        found = read(data[:-2] + bytes(range(1, 60)) + data[-2:])
        assert found.warnings == (DAMAGED,)
        assert np.array_equal(found.pixels, read(data).pixels)


def test_bytes_after_the_end_are_ignored(phantoms):
    for phantom in phantoms:
        data = jpeg(phantom.pixels, "L")
        for behind in (bytes(1000), b"\xff" * 1000, b"text"):
            assert read(data + behind).warnings == ()


def test_unsupported_layouts_give_no_warning():
    assert damage(b"\xff\xd8\xff\xd9") == ()


def test_repeated_bytes_are_detected(phantoms):
    for phantom in phantoms:
        data = jpeg(phantom.pixels, "L")
        middle = len(data) // 2
        repeated = data[:middle] + data[middle - 300 : middle] + data[middle:]
        assert not unremarked(repeated)


@pytest.mark.parametrize(("syntax", "bits"), [("jpeg", 8), ("jpeg-extended", 12)])
def test_jpeg_in_dicom_is_checked_too(phantoms, syntax, bits):
    for phantom in phantoms:
        elements = parsed(encode_phantom(phantom, Encoding(syntax, bits)))
        frame = next(generate_frames(elements.PixelData, number_of_frames=1))
        assert read(written(elements)).warnings == ()
        middle = len(frame) // 2
        for damaged in (
            frame[:middle] + frame[middle + 999 :],
            frame[:middle] + bytes(20) + frame[middle + 20 :],
        ):
            elements.PixelData = encapsulate([damaged])
            with pytest.raises(CorruptImageError):
                read(written(elements))
        elements.PixelData = encapsulate([frame[:middle] + frame[middle - 300 :]])
        assert not unremarked(written(elements))
