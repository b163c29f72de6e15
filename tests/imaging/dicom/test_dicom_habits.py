"""Deviations from the standard, and cases that it leaves open."""

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

from mammoscope.errors import CorruptImageError, NotAMammogramError
from mammoscope.imaging.mammogram import View
from mammoscope.imaging.reading import read
from mammoscope.phantoms.dicom import SYNTAXES, Encoding, encode_image, encode_phantom
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom
from tests.dicom_objects import changed, code, parsed, written

LOSSLESS = [name for name, syntax in SYNTAXES.items() if not syntax.lossy]
WITH_SIGN = [name for name, syntax in SYNTAXES.items() if syntax.tells_sign]
SEEDS = range(4)


@pytest.fixture(scope="module")
def phantoms():
    sizes = ((301, 243), (256, 208), (200, 260), (256, 256))
    return [
        draw_phantom(PhantomConfig(seed=seed, height=height, width=width, mass=seed % 2 == 0))
        for seed, (height, width) in enumerate(sizes)
    ]


def with_words(data: bytes, words: np.ndarray, name: str) -> bytes:
    """The object with other pixel words, encoded as `name`."""
    elements = parsed(data)
    syntax = SYNTAXES[name]
    elements.file_meta.TransferSyntaxUID = syntax.transfer_syntax
    if syntax.encode is None:
        order = ">" if name == "big-endian" else "<"
        pixels = words.astype(words.dtype.newbyteorder(order)).tobytes()
    else:
        pixels = encapsulate([syntax.encode(words, 8 * words.dtype.itemsize)])
    elements.add_new("PixelData", "OW" if words.dtype.itemsize == 2 else "OB", pixels)
    elements["PixelData"].is_undefined_length = syntax.encode is not None
    return written(elements)


def stored(phantom, bits: int = 12) -> np.ndarray:
    return np.rint(phantom.pixels * (2**bits - 1)).astype(np.uint16)


@pytest.mark.parametrize("bit", [12, 13, 15])
@pytest.mark.parametrize(
    "name", [each for each in LOSSLESS if each not in ("big-endian", "implicit", "deflated")]
)
def test_overlays_in_unused_bits_are_ignored_in_every_syntax(phantoms, name, bit):
    for phantom in phantoms:
        data = encode_phantom(phantom)
        words = stored(phantom)
        words[20:60, 10:90] |= np.uint16(1 << bit)
        assert np.array_equal(read(with_words(data, words, name)).pixels, read(data).pixels)
        # (0028,0102) High Bit: the values stand above four other bits.
        shifted = changed(with_words(data, (words << 4) | 9, name), HighBit=15)
        assert np.array_equal(read(shifted).pixels, read(data).pixels)


@pytest.mark.parametrize("name", [each for each in LOSSLESS if each != "big-endian"])
def test_more_bits_than_declared_are_warned_about(phantoms, name):
    for phantom in phantoms:
        data = with_words(encode_phantom(phantom), stored(phantom, 16), name)
        (warning,) = read(data).warnings
        assert "more bits than Bits Stored" in warning
        assert not read(changed(data, BitsStored=16, HighBit=15)).warnings


def test_extended_signs_are_no_other_bits(phantoms):
    for phantom in phantoms:
        words = (stored(phantom).astype(np.int16) - 2048).view(np.uint16)
        data = with_words(encode_phantom(phantom), words, "explicit")
        assert not read(changed(data, PixelRepresentation=1)).warnings


@pytest.mark.parametrize("name", ["jpeg-2000", "htj2k", "jpeg-ls", "explicit"])
def test_overlays_do_not_blend_into_reduced_images(name):
    config = PhantomConfig(seed=5, height=2100, width=1800)
    phantom = draw_phantom(config)
    data = encode_phantom(phantom)
    words = stored(phantom)
    words[600:900:2, 300:700] |= np.uint16(0x8000)
    expected = read(data, needed=(299, 299))
    found = read(with_words(data, words, name), needed=(299, 299))
    assert expected.pixels.shape == found.pixels.shape
    assert np.array_equal(found.pixels, expected.pixels)


def test_lossy_values_above_the_maximum_do_not_wrap_around(phantoms):
    for phantom in phantoms:
        words = stored(phantom, 10)
        words[100:120, 40:60] = 1023
        words[105:115, 45:55] = 1026  # as in near-lossless compression
        data = encode_phantom(phantom, Encoding(bits=10))
        near = read(with_words(data, words, "jpeg-ls-near"))
        assert near.pixels[106:114, 46:54].min() > 0.99


@pytest.mark.parametrize(
    "padding", [b"\0", b"\0\0", b"\xff" * 4, b"ab\0\0", bytes(301), bytes(1001)]
)
@pytest.mark.parametrize("bits", [8, 12])
def test_padding_after_the_last_row_is_ignored(phantoms, bits, padding):
    for phantom in phantoms:
        data = encode_phantom(phantom, Encoding(bits=bits))
        padded = parsed(data).PixelData + padding
        padded += bytes(len(padded) % 2)
        assert np.array_equal(read(changed(data, PixelData=padded)).pixels, read(data).pixels)


def test_undeclared_blank_rows_are_padding(phantoms):
    for phantom in phantoms:
        data = encode_phantom(phantom)
        longer = parsed(data).PixelData + bytes(6 * phantom.pixels.shape[1])
        assert np.array_equal(read(changed(data, PixelData=longer)).pixels, read(data).pixels)


@pytest.mark.parametrize(
    "changes", [{"Rows": -90}, {"Rows": -99}, {"Columns": -1}, {"Columns": -3}]
)
def test_undeclared_rows_and_columns_are_not_padding(phantoms, changes):
    for phantom in phantoms:
        data = encode_phantom(phantom)
        elements = parsed(data)
        fewer = {name: elements[name].value + change for name, change in changes.items()}
        with pytest.raises(CorruptImageError, match="bytes of pixels"):
            read(changed(data, **fewer))
        if "Rows" in changes:
            continue
        blank = changed(data, PixelData=bytes(len(elements.PixelData)))
        with pytest.raises(CorruptImageError, match="bytes of pixels"):
            read(changed(blank, **fewer))


@pytest.mark.parametrize("padding", [b"\xff", b" ", b"\0", b"\xff\xff\xff", b" " * 40, b"\0" * 513])
@pytest.mark.parametrize("name", [name for name in SYNTAXES if SYNTAXES[name].encode])
def test_padding_after_compressed_data_is_ignored(phantoms, name, padding):
    bits = SYNTAXES[name].bits
    for phantom in phantoms:
        data = encode_phantom(phantom, Encoding(name, 12 if 12 in bits else bits[-1]))
        elements = parsed(data)
        frame = next(generate_frames(elements.PixelData, number_of_frames=1))
        frame = frame[: frame.rindex(b"\xff\xd9") + 2] if name != "rle" else frame
        elements.PixelData = encapsulate([frame + padding])
        assert np.array_equal(read(written(elements)).pixels, read(data).pixels)


WINDOWS = [
    ("512\\", "1024\\", (512, 1024)),
    ("512\\abc", "1024\\2000", (512, 1024)),
    ("512\\300", "1024", (512, 1024)),
    ("\\512", "300\\1024", (512, 1024)),
    ("nan\\512", "300\\1024", (512, 1024)),
    ("100\\512", "0\\1024", (512, 1024)),
    (" 512 \\ ", "1.024E3", (512, 1024)),
]


def as_written(data: bytes, **texts: str) -> bytes:
    """The object with decimal strings that pydicom would not write."""
    elements = parsed(data)
    for keyword, text in texts.items():
        setattr(elements, keyword, 1)
        elements[keyword].VR = "LO"
        elements[keyword].value = text
    return written(elements).replace(b"\x28\0\x50\x10LO", b"\x28\0\x50\x10DS").replace(
        b"\x28\0\x51\x10LO", b"\x28\0\x51\x10DS").replace(
        b"\x28\0\x53\x10LO", b"\x28\0\x53\x10DS").replace(
        b"\x28\0\x52\x10LO", b"\x28\0\x52\x10DS")  # fmt: skip


@pytest.mark.parametrize(("centre", "width", "used"), WINDOWS)
def test_the_first_valid_window_is_used(phantoms, centre, width, used):
    for phantom in phantoms:
        data = encode_phantom(phantom)
        found = read(as_written(data, WindowCenter=centre, WindowWidth=width))
        expected = read(changed(data, WindowCenter=used[0], WindowWidth=used[1]))
        assert np.array_equal(found.pixels, expected.pixels)
        assert found.warnings == ()


@pytest.mark.parametrize(("centre", "width"), [("abc", "1024"), ("512", "x\\"), ("1\\", "\\2")])
def test_invalid_windows_are_reported(phantoms, centre, width):
    data = encode_phantom(phantoms[0])
    found = read(as_written(data, WindowCenter=centre, WindowWidth=width))
    assert any("window" in warning for warning in found.warnings)
    assert np.abs(found.pixels - phantoms[0].pixels / phantoms[0].pixels.max()).max() < 0.01


@pytest.mark.parametrize("slope", ["abc", "0"])
def test_a_malformed_rescale_is_reported(phantoms, slope):
    data = encode_phantom(phantoms[0])
    found = read(as_written(data, RescaleSlope=slope))
    assert any("rescale" in warning for warning in found.warnings)
    assert np.array_equal(found.pixels, read(data).pixels)
    assert np.array_equal(read(as_written(data, RescaleSlope="1\\x")).pixels, read(data).pixels)


def lut(entries: np.ndarray, first: int, *, declared: int | None = None, bits: int = 16) -> Dataset:
    item = Dataset()
    count = len(entries) if declared is None else declared
    item.add_new("LUTDescriptor", "US", [count, first % 65_536, bits])
    item.add_new("LUTData", "OW", entries.astype("<u2" if bits > 8 else "u1").tobytes())
    return item


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "jpeg-ls"])
@pytest.mark.parametrize("signed", [False, True])
def test_the_first_value_of_a_voi_lut_has_the_sign_of_the_modalitys_output(
    phantoms, syntax, signed
):
    table = (np.arange(4096.0) ** 2 / 4095 * 16).astype(int)
    for phantom in phantoms:
        data = encode_phantom(phantom, Encoding(syntax, signed=signed, window=None))
        first = -1024 - 2048 * signed
        moved = changed(data, RescaleIntercept=-1024, VOILUTSequence=[lut(table, first)])
        found = read(moved)
        assert found.warnings == ()
        assert np.abs(found.pixels - np.square(stored(phantom) / 4095)).max() < 0.001


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_voi_lut_with_too_few_entries_is_ignored_with_a_warning(phantoms, bits):
    table = np.arange(4096) >> (12 - bits if bits < 12 else 0)
    for phantom in phantoms:
        data = encode_phantom(phantom)
        whole = changed(data, VOILUTSequence=[lut(table, 0, bits=bits)])
        assert read(whole).warnings == ()
        assert np.abs(read(whole).pixels - read(data).pixels).max() < 0.005
        short = changed(data, VOILUTSequence=[lut(table[:4000], 0, declared=4096, bits=bits)])
        found = read(short)
        assert ["VOI LUT" in warning for warning in found.warnings] == [True]
        assert np.array_equal(found.pixels, read(data).pixels)
        # A table with a single grey is ignored; the next one is used.
        blank = lut(np.arange(4096), 60_000)
        both = read(changed(data, VOILUTSequence=[blank, lut(table, 0, bits=bits)]))
        assert np.array_equal(both.pixels, read(whole).pixels)
        assert len(both.warnings) == 1


@pytest.mark.parametrize("name", WITH_SIGN)
def test_contradictory_signs_give_a_warning_and_the_smoother_image(phantoms, name):
    for phantom in phantoms:
        for bits in SYNTAXES[name].bits if name == "htj2k" else (8, 12, 16):
            unsigned = encode_phantom(phantom, Encoding(name, bits))
            signed = encode_phantom(phantom, Encoding(name, bits, signed=True))
            expected = read(unsigned)
            assert expected.warnings == read(signed).warnings == ()
            words = np.rint(phantom.pixels * (2**bits - 1)).astype(np.int64)
            kind = np.uint8 if bits == 8 else np.uint16
            wrapped = ((words - 2 ** (bits - 1)) & (2**bits - 1)).astype(kind)
            pixels = encapsulate([SYNTAXES[name].encode(wrapped, bits)])
            lies = [
                changed(unsigned, PixelRepresentation=1),  # the compressed data are right
                changed(signed, PixelData=pixels),  # the object is right
            ]
            for each in lies:
                found = read(each)
                assert ["sign" in warning for warning in found.warnings] == [True]
                assert np.abs(found.pixels - expected.pixels).max() < 2 / (2**bits - 1)


FILM = {
    "SOPClassUID": uid.SecondaryCaptureImageStorage,
    "ConversionType": "WSD",
    "ImageType": None,
    "PresentationIntentType": None,
    "ViewCodeSequence": None,
    "ViewPosition": None,
    "OrganExposed": None,
    "PatientOrientation": "MLO",
    "BodyPartExamined": "BREAST",
}
"""As in CBIS-DDSM."""


@pytest.mark.parametrize(
    ("changes", "accepted"),
    [
        ({}, True),
        ({"PatientOrientation": "CC"}, True),
        ({"ConversionType": "DF", "PatientOrientation": None, "BodyPartExamined": None}, True),
        ({"ConversionType": "SI"}, True),
        ({"ImageType": ["DERIVED", "SECONDARY"]}, True),
        ({"PatientOrientation": None, "BurnedInAnnotation": "NO"}, True),
        ({"PatientOrientation": None, "ViewPosition": "CC"}, True),
        ({"SOPClassUID": uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage}, True),
        ({"PresentationIntentType": "FOR PRESENTATION"}, False),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, False),
        ({"PatientOrientation": None, "BodyPartExamined": None}, False),
        ({"PatientOrientation": None, "BurnedInAnnotation": "YES"}, False),
        ({"ConversionType": "DRW"}, False),
        ({"ConversionType": "SYN"}, False),
    ],
)
def test_digitised_film_is_distinguished_from_copies_of_displays(phantoms, changes, accepted):
    data = changed(encode_phantom(phantoms[0]), **{**FILM, **changes})
    if accepted:
        found = read(data)
        assert found.pixels.shape == phantoms[0].pixels.shape
        if changes == {}:
            assert found.view is View.MEDIO_LATERAL_OBLIQUE
    else:
        with pytest.raises(NotAMammogramError, match="digitised film"):
            read(data)


def test_film_may_be_recognised_by_a_view_code(phantoms):
    of_film = {**FILM, "PatientOrientation": None, "ViewCodeSequence": [code("399368009")]}
    assert read(changed(encode_phantom(phantoms[0]), **of_film)).view is View.MEDIO_LATERAL_OBLIQUE


def test_missing_bits_stored_are_the_allocated_bits(phantoms):
    """Without (0028,0101) Bits Stored, all allocated bits are used."""
    grey = phantoms[0].pixels
    data = encode_image(grey, phantoms[0].config, Encoding(bits=16))
    assert np.array_equal(
        read(changed(data, BitsStored=None, HighBit=None)).pixels, read(data).pixels
    )
