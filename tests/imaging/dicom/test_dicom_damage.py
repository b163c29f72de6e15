"""DICOM files that are damaged, hostile, or not mammograms."""

import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate

from mammoscope.errors import (
    CorruptImageError,
    ImageError,
    ImageTooLargeError,
    NotAMammogramError,
    UnsupportedImageError,
)
from mammoscope.imaging.dicom import is_dicom
from mammoscope.imaging.mammogram import Mammogram
from mammoscope.imaging.reading import read
from mammoscope.phantoms.dicom import SYNTAXES, Encoding
from mammoscope.settings.service import ReadingLimits
from tests.dicom_objects import changed, mammogram_object, parsed, written

OTHERS = sorted(
    path
    for path in (Path(pydicom.__file__).parent / "data" / "test_files").rglob("*")
    if path.is_file() and path.suffix != ".py"
)
"""Files that pydicom is tested with: CT, MR, US, SR, RT, ECG, directories, broken ones."""


def encoding(name: str) -> Encoding:
    bits = SYNTAXES[name].bits
    return Encoding(name, bits=12 if 12 in bits else bits[-1])


@pytest.fixture(scope="module")
def objects() -> dict[str, bytes]:
    """A small valid mammogram in every syntax."""
    return {name: mammogram_object(encoding(name), height=128, width=112) for name in SYNTAXES}


def test_pydicom_has_files_of_other_kinds():
    assert len(OTHERS) > 100
    assert sum(is_dicom(path.read_bytes()) for path in OTHERS) > 70


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.name)
def test_other_images_are_refused(path):
    with pytest.raises(ImageError) as refusal:
        read(path.read_bytes())
    assert str(refusal.value).endswith(".")
    assert path.name not in str(refusal.value) or path.name == "DICOMDIR"


@pytest.mark.parametrize("name", SYNTAXES)
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.99])
def test_truncated_files(objects, name, keep):
    data = objects[name]
    with pytest.raises((CorruptImageError, UnsupportedImageError, NotAMammogramError)):
        read(data[: int(len(data) * keep)])


@pytest.mark.parametrize("name", SYNTAXES)
@pytest.mark.parametrize(
    "changes", [{"Rows": 129}, {"Rows": 64}, {"Columns": 111}, {"Rows": 112, "Columns": 128}]
)
def test_sizes_that_do_not_match_the_pixels_are_refused(objects, name, changes):
    if SYNTAXES[name].encode is None and set(changes) == {"Rows", "Columns"}:
        return  # the same number of pixels: nothing contradicts
    if name == "rle" and set(changes) == {"Rows", "Columns"}:
        return
    with pytest.raises(CorruptImageError):
        read(changed(objects[name], **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"Rows": None},
        {"Columns": 0},
        {"BitsAllocated": None},
        {"BitsStored": 13, "HighBit": 11},
        {"BitsStored": 1},
        {"HighBit": 16},
        {"PixelRepresentation": 7},
    ],
)
def test_contradictory_layouts_are_refused(objects, changes):
    with pytest.raises(CorruptImageError):
        read(changed(objects["explicit"], **changes))


def test_sizes_are_checked_before_decoding(objects):
    limits = ReadingLimits(max_pixels=128 * 112 - 1)
    for data in objects.values():
        with pytest.raises(ImageTooLargeError, match="112 x 128"):
            read(data, limits)
    with pytest.raises(ImageTooLargeError, match="pixels"):
        read(changed(objects["jpeg-2000"], Rows=65_535, Columns=65_535))


@pytest.mark.parametrize(
    "preamble", [b"MZ\x90\x00", b"\x7fELF", b"#!/bin/sh\n", b"%PDF-1.7", b"PK\x03\x04", b"<html>"]
)
def test_programs_and_documents_in_the_preamble_are_refused(objects, preamble):
    with pytest.raises(UnsupportedImageError, match="program"):
        read(preamble.ljust(128, b"\0") + objects["explicit"][128:])
    # A TIFF preamble is allowed: some files are both, and only the DICOM part is read.
    both = b"II*\0".ljust(128, b"\0") + objects["explicit"][128:]
    assert read(both).source.format == "DICOM"


def peak_bytes(data: bytes, limits: ReadingLimits | None = None) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(ImageTooLargeError):
            read(data, limits)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _deflated(data: bytes, more: bytes) -> bytes:
    """The deflated object with `more` behind its pixels."""
    end = 132 + 12 + parsed(data).file_meta.FileMetaInformationGroupLength
    body = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[end:])
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return data[:end] + packer.compress(body + more) + packer.flush()


def test_deflated_data_that_are_longer_than_the_pixels_are_refused(objects):
    data = objects["deflated"]
    pixels = read(data).pixels
    for more in (b"", b"\xfc\xff\xfc\xffOB\0\0\2\0\0\0\0\0", b"\xe1\x7f\x10\0LO\2\0AB"):
        assert np.array_equal(read(_deflated(data, more)).pixels, pixels)
    for more in (bytes(2), b"\xff" * 9, b"\x10\0\x10\0PN\2\0AB"):
        with pytest.raises(CorruptImageError, match="pixels are too long"):
            read(_deflated(data, more))


def test_repeated_bytes_of_deflated_data_are_refused():
    for seed in range(4):
        data = mammogram_object(encoding("deflated"), seed=seed)
        middle = len(data) // 2
        with pytest.raises(CorruptImageError):
            read(data[:middle] + data[middle - 200 :])


def test_a_deflate_bomb_is_limited(objects):
    bomb = _deflated(objects["deflated"], bytes(80_000_000))
    assert len(bomb) < 500_000
    assert peak_bytes(bomb, ReadingLimits(max_image_bytes=8_000_000)) < 30_000_000


def test_too_many_elements_are_refused(objects):
    data = objects["explicit"]
    start = data.index(b"\x08\x00\x05\x00CS")
    empty = b"".join(
        (0x0009).to_bytes(2, "little") + (0x1000 + index % 0xEFFF).to_bytes(2, "little") + b"LO\0\0"
        for index in range(100_000)
    )
    assert peak_bytes(data[:start] + empty + data[start:]) < 40_000_000


def test_deep_sequences_are_refused(objects):
    data = objects["explicit"]
    start = data.index(b"\x08\x00\x05\x00CS")
    nested = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 100_000
    with pytest.raises(ImageError):
        read(data[:start] + nested + data[start:])


def test_compressed_pixels_that_declare_more_are_refused(objects):
    """The codestream's own header is a bomb; the object's is not."""
    import imagecodecs

    large = np.zeros((3000, 3000), np.uint16)
    for name, codestream in (
        ("jpeg-2000", imagecodecs.jpeg2k_encode(large, level=0, codecformat="j2k")),
        ("jpeg-ls", imagecodecs.jpegls_encode(large)),
        ("jpeg-lossless", imagecodecs.jpeg_encode(large, lossless=True, bitspersample=12)),
    ):
        elements = parsed(objects[name])
        elements.PixelData = encapsulate([bytes(codestream)])
        with pytest.raises(CorruptImageError, match="3000 x 3000"):
            read(written(elements))


def test_rle_of_the_wrong_length_is_refused(objects):
    elements = parsed(objects["rle"])
    header = np.zeros(16, "<u4")
    header[:3] = 2, 64, 1_064
    for segment in (b"\x81\0" * 500, b"\x81\0" * 10 + bytes(980)):
        elements.PixelData = encapsulate([header.tobytes() + segment + segment])
        with pytest.raises(CorruptImageError):
            read(written(elements))


def test_unknown_syntaxes_are_refused(objects):
    elements = parsed(objects["jpeg"])
    for syntax in ("1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.95", "1.2.3"):
        elements.file_meta.TransferSyntaxUID = syntax
        with pytest.raises(UnsupportedImageError, match="transfer syntax"):
            read(written(elements))


def check(data: bytes) -> None:
    try:
        mammogram = read(data, ReadingLimits(max_pixels=60_000))
    except ImageError as err:
        if not str(err):
            pytest.fail("an error must say something")
    else:
        assert isinstance(mammogram, Mammogram)


SMALL = {name: mammogram_object(encoding(name), height=96, width=96) for name in SYNTAXES}
"""Created once, because hypothesis runs the test many times."""


@given(st.binary(max_size=300))
@example(b"")
def test_any_bytes_after_the_prefix(data):
    check(bytes(128) + b"DICM" + data)


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(sorted(SMALL)),
    # Half of the changes are in the header, which is a small part of the file.
    changes=st.lists(
        st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 255)), min_size=1, max_size=12
    ),
    cut=st.one_of(st.none(), st.floats(0.05, 1)),
    drop=st.one_of(st.none(), st.tuples(st.floats(0, 1), st.integers(1, 40))),
)
def test_mutants_give_a_mammogram_or_a_typed_error(name, changes, cut, drop):
    data = bytearray(SMALL[name])
    for place, in_header, value in changes:
        end = min(2_600, len(data)) if in_header else len(data)
        data[int(place * (end - 1))] = value
    if drop is not None:
        at = int(drop[0] * (len(data) - 1))
        del data[at : at + drop[1]]
    if cut is not None:
        del data[int(len(data) * cut) :]
    check(bytes(data))
