import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mammoscope.errors import (
    CorruptImageError,
    EmptyImageError,
    ImageError,
    ImageTooLargeError,
    UnreadableFileError,
    UnsupportedImageError,
)
from mammoscope.imaging.mammogram import Mammogram
from mammoscope.imaging.reading import read, read_file, read_image
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom
from mammoscope.settings.service import ReadingLimits


def encode(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def pixels():
    return draw_phantom(PhantomConfig(seed=3, height=256, width=208)).pixels


@pytest.fixture(scope="module")
def grey(pixels):
    return Image.fromarray(np.rint(pixels * 255).astype(np.uint8))


@pytest.fixture(scope="module")
def deep(pixels):
    return Image.fromarray(np.rint(pixels * 65535).astype(np.uint16))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_grey_images_of_every_layout_read_alike(grey, pixels, mode):
    mammogram = read(encode(grey.convert(mode), "PNG"))
    assert mammogram.pixels.shape == (256, 208)
    assert mammogram.source.mode == mode
    assert mammogram.warnings == ()
    assert np.abs(mammogram.pixels - pixels).max() <= 1 / 255


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 2}, {"progressive": True}])
@pytest.mark.parametrize("needed", [None, (50, 40)])
def test_the_colours_of_a_grey_jpeg_are_not_needed(options, needed):
    drawn = draw_phantom(PhantomConfig(seed=3, height=1300, width=1100)).pixels
    plain = Image.fromarray(np.rint(drawn * 255).astype(np.uint8)).convert("RGB")
    data = encode(plain, "JPEG", **options)
    with Image.open(io.BytesIO(data)) as image:
        coloured = np.asarray(image)
    assert (coloured == coloured[..., :1]).all()
    mammogram = read(data, needed=needed)
    assert mammogram.source.mode == "RGB"
    assert mammogram.warnings == ()
    grey_data = encode(Image.fromarray(coloured[..., 0]), "PNG")
    expected = read(grey_data, needed=needed).pixels
    assert mammogram.pixels.shape == expected.shape
    # Reduced, a JPEG is decoded at a part of its size.
    assert np.abs(mammogram.pixels - expected).max() <= (0 if needed is None else 0.1)


def test_a_small_coloured_mark_keeps_the_grey_of_its_colours(grey):
    marked = np.asarray(grey.convert("RGB")).copy()
    marked[100:116, 80:96] = (255, 255, 0)
    data = encode(Image.fromarray(marked), "JPEG", subsampling=0, quality=100)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("L"), np.float32) / 255
    assert (read(data).pixels == expected).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_images_keep_their_depth(deep, pixels, kind):
    mammogram = read(encode(deep, kind))
    assert mammogram.source.bits == 16
    assert np.abs(mammogram.pixels - pixels).max() <= 1 / 65535 + 1e-6
    assert len(np.unique(mammogram.pixels)) > 256


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_is_read_close_to_the_original(grey, pixels, mode):
    mammogram = read(encode(grey.convert(mode), "JPEG", quality=95))
    assert mammogram.source.format == "JPEG"
    assert mammogram.warnings == ()
    assert np.abs(mammogram.pixels - pixels).mean() < 0.01


def test_palette_and_one_bit_images_are_read(grey):
    assert read(encode(grey.convert("P"), "PNG")).source.mode == "P"
    one_bit = read(encode(grey.convert("1"), "PNG"))
    assert set(np.unique(one_bit.pixels)) <= {0.0, 1.0}


def test_transparent_parts_become_background(grey):
    rgba = grey.convert("RGBA")
    rgba.putalpha(0)
    assert read(encode(rgba, "PNG")).pixels.max() == 0.0


def test_exif_rotation_is_applied(grey):
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: rotate by 90 degrees clockwise
    mammogram = read(encode(grey, "JPEG", exif=exif))
    assert mammogram.pixels.shape == (208, 256)


@pytest.fixture(scope="module")
def large_pixels():
    return draw_phantom(PhantomConfig(seed=3, height=1280, width=1040)).pixels


@pytest.fixture(scope="module")
def large_grey(large_pixels):
    return Image.fromarray(np.rint(large_pixels * 255).astype(np.uint8))


@pytest.fixture(scope="module")
def large_deep(large_pixels):
    return Image.fromarray(np.rint(large_pixels * 65535).astype(np.uint16))


class TestReduced:
    """Reading an image with only the required pixels."""

    NEEDED = (320, 260)

    @pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG", "PNG", "deep PNG", "deep TIFF"])
    @pytest.mark.parametrize("mode", ["L", "RGB"])
    def test_reduced_reading_gives_the_same_image_with_fewer_pixels(
        self, large_grey, large_deep, kind, mode
    ):
        if kind.startswith("deep"):
            data = encode(large_deep, kind.removeprefix("deep "))
        elif kind == "progressive JPEG":
            data = encode(large_grey.convert(mode), "JPEG", quality=95, progressive=True)
        else:
            data = encode(
                large_grey.convert(mode), kind, **({"quality": 95} if kind == "JPEG" else {})
            )
        full, reduced = read(data), read(data, needed=self.NEEDED)
        assert reduced.pixels.shape == (640, 520)
        assert (reduced.source.width, reduced.source.height) == (1040, 1280)
        assert reduced.source == full.source
        expected = cv2.resize(full.pixels, (520, 640), interpolation=cv2.INTER_AREA)
        assert np.abs(reduced.pixels - expected).mean() < 0.004
        assert reduced.read_fully is not None
        assert np.array_equal(reduced.read_fully().pixels, full.pixels)
        assert full.read_fully is None

    @pytest.mark.parametrize(
        ("needed", "shape"),
        [((320, 260), (640, 520)), ((321, 260), (1280, 1040)), ((8, 6), (640, 520)),
         ((1000, 1000), (1280, 1040))],
    )  # fmt: skip
    def test_images_keep_the_pixels_that_network_and_search_need(self, large_grey, needed, shape):
        reduced = read(encode(large_grey, "JPEG"), needed=needed)
        assert reduced.pixels.shape == shape
        assert (reduced.read_fully is None) == (shape == (1280, 1040))

    def test_16_bits_keep_their_depth(self, large_deep):
        levels = np.unique(read(encode(large_deep, "PNG"), needed=self.NEEDED).pixels)
        assert len(levels) > 1000

    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    def test_orientation_is_applied_before_reduction(self, large_grey, kind):
        exif = Image.Exif()
        exif[0x0112] = 6
        data = encode(large_grey, kind, exif=exif)
        assert read(data, needed=(260, 320)).pixels.shape == (520, 640)
        assert read(data, needed=(320, 260)).pixels.shape == (1040, 1280)

    def test_from_a_file(self, large_grey, tmp_path):
        path = tmp_path / "image.jpg"
        path.write_bytes(encode(large_grey, "JPEG"))
        reduced = read_file(path, needed=self.NEEDED)
        assert np.array_equal(reduced.pixels, read(path.read_bytes(), needed=self.NEEDED).pixels)

    def test_truncated_images_are_corrupt(self, large_grey):
        for kind in ("JPEG", "PNG"):
            data = encode(large_grey, kind)
            with pytest.raises(CorruptImageError):
                read(data[: len(data) // 2], needed=self.NEEDED)


def test_a_coloured_image_carries_a_warning():
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[:32, :, 0] = 200
    colours[32:, :, 2] = 200
    (warning,) = read(encode(Image.fromarray(colours), "PNG")).warnings
    assert "coloured" in warning


def test_opened_images_are_read_like_their_bytes(grey):
    assert np.array_equal(read_image(grey).pixels, read(encode(grey, "PNG")).pixels)


def test_empty_image_is_refused():
    with pytest.raises(EmptyImageError, match="0 bytes"):
        read(b"")


@pytest.mark.parametrize(
    "data",
    [
        b"<html><body>no image</body></html>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"GIF89a" + bytes(100),
        b"BM" + bytes(100),
        b"just text that somebody named .jpg",
    ],
)
def test_other_formats_are_refused(data):
    with pytest.raises(UnsupportedImageError, match="JPEG, PNG, TIFF or DICOM"):
        read(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated_images_are_corrupt(grey, kind, share):
    data = encode(grey, kind)
    with pytest.raises(CorruptImageError):
        read(data[: int(len(data) * share)])


def test_several_frames_are_refused(grey):
    frames = [grey, Image.fromarray(255 - np.asarray(grey))]
    for kind in ("PNG", "TIFF"):
        with pytest.raises(UnsupportedImageError, match="frames"):
            read(encode(frames[0], kind, save_all=True, append_images=frames[1:]))


def bomb(width: int, height: int) -> bytes:
    """A PNG that declares many pixels in few bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes((width + 1) * 100))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("size", [(20_000, 20_000), (10_000, 9_000), (60_000, 10)])
def test_bombs_are_refused_by_their_header(size):
    allowed = ReadingLimits().max_pixels
    with pytest.raises(ImageTooLargeError, match=f"pixels; at most {allowed} in total"):
        read(bomb(*size))


def test_the_callers_limits_apply(grey):
    data = encode(grey, "PNG")
    at_the_limit = ReadingLimits(max_image_bytes=len(data), max_pixels=256 * 208, max_dimension=256)
    assert read(data, at_the_limit).source.width == 208
    for change in ({"max_image_bytes": len(data) - 1}, {"max_pixels": 256 * 208 - 1},
                   {"max_dimension": 255}):  # fmt: skip
        with pytest.raises(ImageTooLargeError):
            read(data, at_the_limit.model_copy(update=change))


def test_unreadable_files_are_reported(tmp_path, grey):
    with pytest.raises(UnreadableFileError, match="does not exist"):
        read_file(tmp_path / "missing.png")
    with pytest.raises(UnreadableFileError):
        read_file(tmp_path)
    path = tmp_path / "image.png"
    path.write_bytes(encode(grey, "PNG"))
    assert read_file(path).source.format == "PNG"


def check(data: bytes) -> None:
    """Require a Mammogram, or a typed error without the bytes' content."""
    try:
        mammogram = read(data, ReadingLimits(max_pixels=300_000))
    except ImageError as err:
        if not str(err):
            pytest.fail("an error must say something")
    else:
        assert isinstance(mammogram, Mammogram)


@given(st.binary(max_size=400))
def test_any_bytes_give_a_mammogram_or_a_typed_error(data):
    check(data)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    kind=st.sampled_from(["PNG", "JPEG", "TIFF", "deep PNG"]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
    keep=st.floats(0.1, 1.0),
)
def test_mutated_images_give_a_mammogram_or_a_typed_error(kind, changes, keep):
    small = draw_phantom(PhantomConfig(seed=1, height=128, width=128)).pixels
    image = (
        Image.fromarray((small * 65535).astype(np.uint16))
        if kind == "deep PNG"
        else Image.fromarray((small * 255).astype(np.uint8))
    )
    data = bytearray(encode(image, kind.removeprefix("deep ")))
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    check(bytes(data[: int(len(data) * keep)]))
