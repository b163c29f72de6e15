"""Pixels of DICOM objects."""

import struct

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless

from mammoscope.imaging.mammogram import Laterality, View, shrink
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.reading import read
from mammoscope.phantoms.dicom import SYNTAXES, Encoding, encode_image, encode_phantom
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom
from tests.dicom_objects import changed, parsed, written

LOSSY = [name for name, syntax in SYNTAXES.items() if syntax.lossy]
ENCODINGS = [
    Encoding(name, bits, signed=signed)
    for name, syntax in SYNTAXES.items()
    for bits in (8, 10, 12, 16)
    for signed in (False, True)
    if bits in syntax.bits and not (signed and syntax.lossy)
]


def named(encoding: Encoding) -> str:
    return f"{encoding.syntax}-{encoding.bits}{'-signed' if encoding.signed else ''}"


@pytest.fixture(scope="module")
def phantom():
    # Odd sides: values do not fill the last word.
    return draw_phantom(PhantomConfig(seed=3, height=301, width=243))


@pytest.mark.parametrize("encoding", ENCODINGS, ids=named)
def test_every_syntax_is_read_close_to_the_original(phantom, encoding):
    mammogram = read(encode_phantom(phantom, encoding))
    difference = np.abs(mammogram.pixels - phantom.pixels)
    if encoding.syntax in LOSSY:
        assert difference.mean() < 0.004
        assert difference.max() < 0.08
    else:
        assert difference.max() <= 0.5 / (2**encoding.bits - 1) + 1e-6
    assert mammogram.source.format == "DICOM"
    assert (mammogram.source.height, mammogram.source.width) == (301, 243)
    assert mammogram.source.bits == encoding.bits
    assert mammogram.warnings == ()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("window", ["LINEAR", "LINEAR_EXACT", None])
def test_monochrome1_is_inverted_once(phantom, signed, window):
    encoding = Encoding(signed=signed, window=window, inverted=True)
    mammogram = read(encode_phantom(phantom, encoding))
    low, high = phantom.pixels.min(), phantom.pixels.max()
    expected = phantom.pixels if window else (phantom.pixels - low) / (high - low)
    assert np.abs(mammogram.pixels - expected).max() < 2 / 4095


@pytest.fixture(scope="module")
def ramp():
    """A DICOM object of 256 columns with the values 0 to 255."""
    grey = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (4, 1))
    return encode_image(grey, PhantomConfig(seed=0), Encoding(bits=8, window=None))


def row(data: bytes) -> np.ndarray:
    return read(data).pixels[0].astype(np.float64)


STORED = np.arange(256.0)


@pytest.mark.parametrize(
    ("function", "centre", "width", "expected"),
    [
        # PS3.3 C.11.2.1.2.1: for x <= c - 0.5 - (w-1)/2 the lowest, and so on.
        ("LINEAR", 128, 64, np.clip((STORED - 127.5) / 63 + 0.5, 0, 1)),
        ("LINEAR", 128, 1, (STORED > 127.5).astype(float)),
        ("LINEAR_EXACT", 128, 64, np.clip((STORED - 128) / 64 + 0.5, 0, 1)),
        ("LINEAR_EXACT", 128, 0.5, np.clip((STORED - 128) / 0.5 + 0.5, 0, 1)),
        ("SIGMOID", 128, 64, 1 / (1 + np.exp(-4 * (STORED - 128) / 64))),
    ],
)
def test_windows(ramp, function, centre, width, expected):
    windowed = changed(ramp, WindowCenter=centre, WindowWidth=width, VOILUTFunction=function)
    assert np.allclose(row(windowed), expected, atol=1e-6)


def test_the_first_of_several_windows_is_used(ramp):
    several = changed(ramp, WindowCenter=[128, 10], WindowWidth=[64, 2])
    assert np.allclose(row(several), row(changed(ramp, WindowCenter=128, WindowWidth=64)))


@pytest.mark.parametrize("width", [0, -5, 0.5])
def test_a_malformed_window_is_ignored_with_a_warning(ramp, width):
    mammogram = read(changed(ramp, WindowCenter=128, WindowWidth=width, VOILUTFunction="LINEAR"))
    assert np.allclose(mammogram.pixels[0], STORED / 255, atol=1e-6)
    assert any("window" in warning for warning in mammogram.warnings)


def test_rescale_comes_before_the_window(ramp):
    rescaled = changed(ramp, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=156,
                       WindowWidth=128, VOILUTFunction="LINEAR_EXACT")  # fmt: skip
    assert np.allclose(row(rescaled), np.clip((2 * STORED - 256) / 128 + 0.5, 0, 1), atol=1e-6)


def lut(first: int, entries: list[int], bits: int = 16) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries) % 65_536, first, bits])
    item.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    return item


def test_luts_extend_beyond_their_ends_and_precede_a_window(ramp):
    table = lut(100, [0, 1000, 4000, 4000])
    shown = row(changed(ramp, VOILUTSequence=[table], WindowCenter=1, WindowWidth=2))
    assert shown[99:105] == pytest.approx([0, 0, 0.25, 1, 1, 1])
    modality = changed(ramp, ModalityLUTSequence=[table], RescaleSlope=None, WindowCenter=2000,
                       WindowWidth=4000, VOILUTFunction="LINEAR_EXACT")  # fmt: skip
    assert row(modality)[99:105] == pytest.approx([0, 0, 0.25, 1, 1, 1])


def test_a_lut_of_65536_entries_is_written_as_0(phantom):
    data = encode_phantom(phantom, Encoding(bits=16, window=None))
    squared = (np.arange(65_536.0) ** 2 / 65_535).astype(int).tolist()
    shown = read(changed(data, VOILUTSequence=[lut(0, squared)])).pixels
    assert np.abs(shown - phantom.pixels**2).max() < 1e-4


def test_padding_is_background_in_both_photometric_interpretations(phantom):
    width = phantom.pixels.shape[1]
    for inverted in (False, True):
        padded = np.pad(phantom.pixels, ((0, 0), (0, 40)), constant_values=1.0)
        data = encode_image(padded, phantom.config, Encoding(inverted=inverted, window=None))
        stored = 0 if inverted else 4095
        masked = read(changed(data, PixelPaddingValue=stored))
        assert masked.pixels[:, width:].max() == 0.0
        # Padding is not part of the range of values either.
        assert masked.pixels[:, :width].max() == 1.0
        limited = read(changed(data, PixelPaddingValue=stored, PixelPaddingRangeLimit=stored))
        assert np.array_equal(limited.pixels, masked.pixels)


def test_bits_above_those_stored_are_ignored(phantom):
    data = encode_phantom(phantom, Encoding(bits=12))
    words = np.frombuffer(parsed(data).PixelData, "<u2") | 0x8000
    assert np.array_equal(read(changed(data, PixelData=words.tobytes())).pixels, read(data).pixels)
    # (0028,0102) High Bit: the values may stand higher up.
    shifted = changed(data, PixelData=(words << 4).tobytes(), HighBit=15)
    assert np.array_equal(read(shifted).pixels, read(data).pixels)


def test_signed_codestreams_of_jpeg_2000(phantom):
    import imagecodecs

    data = encode_phantom(phantom, Encoding(bits=12, signed=True))
    stored = np.rint(phantom.pixels * 4095).astype(np.int16) - 2048
    codestream = imagecodecs.jpeg2k_encode(stored, level=0, codecformat="j2k", reversible=True)
    assert struct.unpack_from(">B", codestream, 42)[0] & 0x80
    other = parsed(data)
    other.file_meta.TransferSyntaxUID = JPEG2000Lossless
    other.PixelData = encapsulate([codestream])
    other["PixelData"].is_undefined_length = True
    assert np.abs(read(written(other)).pixels - phantom.pixels).max() < 1 / 4095


@pytest.fixture(scope="module")
def large():
    return draw_phantom(PhantomConfig(seed=3, height=1200, width=1000)).pixels


@pytest.mark.parametrize("name", SYNTAXES)
def test_a_frame_may_come_in_several_fragments_or_reduced(phantom, large, name, monkeypatch):
    monkeypatch.setattr("mammoscope.imaging.mammogram._LEAST_SIDE", 1)  # as if it were larger
    bits = 16 if name.startswith("htj2k") else SYNTAXES[name].bits[-1]
    data = encode_image(large, phantom.config, Encoding(name, bits))
    assert read(data).pixels.shape == (1200, 1000)
    for needed, factor in (((290, 240), 2), ((150, 125), 4), ((301, 10), 1), ((10, 10), 8)):
        reduced = read(data, needed=needed)
        assert reduced.pixels.shape == (1200 // factor, 1000 // factor)
        assert (reduced.source.height, reduced.source.width) == (1200, 1000)
        exact = cv2.resize(large, reduced.pixels.shape[::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(reduced.pixels - exact).mean() < 0.008
    pieces = parsed(data)
    if SYNTAXES[name].encode is not None:
        frame = next(generate_frames(pieces.PixelData, number_of_frames=1))
        pieces.PixelData = encapsulate([frame], fragments_per_frame=5)
        assert np.array_equal(read(written(pieces)).pixels, read(data).pixels)


def test_tags_are_read(phantom):
    for laterality in Laterality:
        for view in (View.CRANIO_CAUDAL, View.MEDIO_LATERAL_OBLIQUE):
            config = PhantomConfig(1, laterality, view, height=256, width=208)
            mammogram = read(encode_phantom(draw_phantom(config)))
            assert (mammogram.laterality, mammogram.view) == (laterality, view)
            side = "left" if laterality is Laterality.LEFT else "right"
            assert mammogram.exposure.chest_wall == side
            assert preprocess(mammogram, (96, 64)).chest_wall == side
            assert mammogram.exposure.age == 60
            assert mammogram.exposure.implant is False


@pytest.mark.parametrize("name", ["jpeg-2000", "jpeg-2000-lossy", "htj2k", "htj2k-lossy"])
@pytest.mark.parametrize("factor", [2, 4])
def test_wavelets_leave_the_same_noise_as_means(monkeypatch, name, factor):
    """After the network input's averaging, most of the pixel noise is the same, and as strong."""
    monkeypatch.setattr("mammoscope.imaging.mammogram._LEAST_SIDE", 1)  # as if it were larger
    # Noise alone occupies less of the range once it is averaged, and would be stretched.
    monkeypatch.setattr("mammoscope.imaging.dicom.greyscale.on_occupied_range", lambda grey: grey)
    config = PhantomConfig(seed=3, height=1200, width=1200)
    noise = np.random.default_rng(0).standard_normal((1200, 1200), np.float32)
    data = encode_image(np.clip(0.5 + 0.08 * noise, 0, 1), config, Encoding(name, 16))
    full, reduced = read(data).pixels, read(data, needed=(600 // factor, 600 // factor)).pixels
    assert reduced.shape == (1200 // factor, 1200 // factor)
    means, left = shrink(full, 3 * factor), shrink(reduced, 3)
    assert (left - means).std() < 0.462 * means.std()  # linear interpolation: 0.465 (5-3)
    assert left.std() == pytest.approx(means.std(), rel=0.13)
