"""Stored values and displayed images agree with those of dcmtk and GDCM."""

import shutil
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid

from mammoscope.errors import ImageError
from mammoscope.imaging.dicom.frames import decode
from mammoscope.imaging.dicom.greyscale import displayed
from mammoscope.imaging.dicom.header import TAG_NUMBERS, Header
from mammoscope.imaging.dicom.mammography import _layout
from mammoscope.imaging.dicom.part10 import take_apart
from mammoscope.phantoms.dicom import SYNTAXES, Encoding
from mammoscope.settings.service import ReadingLimits
from tests.conftest import not_done
from tests.dicom_objects import changed, mammogram_object

FILES = Path(pydicom.__file__).parent / "data" / "test_files"

PACKAGES = {"dcmtk": ("dcmconv", "dcmcjpeg", "dcmdrle", "dcmdjpeg", "dcmdjpls", "dcm2pnm"),
            "libgdcm-tools": ("gdcmconv",)}  # fmt: skip

DCMTK = {
    uid.ImplicitVRLittleEndian: "dcmconv",
    uid.ExplicitVRLittleEndian: "dcmconv",
    uid.ExplicitVRBigEndian: "dcmconv",
    uid.DeflatedExplicitVRLittleEndian: "dcmconv",
    uid.RLELossless: "dcmdrle",
    uid.JPEGBaseline8Bit: "dcmdjpeg",
    uid.JPEGExtended12Bit: "dcmdjpeg",
    uid.JPEGLossless: "dcmdjpeg",
    uid.JPEGLosslessSV1: "dcmdjpeg",
    uid.JPEGLSLossless: "dcmdjpls",
    uid.JPEGLSNearLossless: "dcmdjpls",
}
"""Tools that decode each transfer syntax; GDCM also supports JPEG 2000."""

GDCM = {uid.JPEG2000Lossless, uid.JPEG2000}

LOSSY_STEP = {uid.JPEGBaseline8Bit: 2, uid.JPEGExtended12Bit: 2, uid.JPEG2000: 1}
"""Stored values by which decoders of lossy codes may differ: how they round is left to them."""


def require(package: str) -> None:
    if not all(shutil.which(tool) for tool in PACKAGES[package]):
        pytest.skip(not_done(f"decoding compared with Debian's {package}, which is not installed"))


@dataclass
class Ours:
    """Our result for one file: stored values int (H, W) and grey values float32 (H, W)."""

    syntax: str
    values: np.ndarray
    grey: np.ndarray
    header: Header


def ours(data: bytes) -> Ours:
    limits = ReadingLimits()
    part = take_apart(data, TAG_NUMBERS, limits)
    header = Header(part.elements, little_endian=part.little_endian)
    layout = _layout(header, part, limits)
    frame = decode(part, layout, 1)
    grey, _ = displayed(frame, header, layout, 1)
    return Ours(part.transfer_syntax, frame.values[frame.words], grey, header)


def opened(path: Path) -> pydicom.Dataset:
    with warnings.catch_warnings():  # some of pydicom's files are invalid in parts
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path, force=True)


def grey_samples() -> list[Path]:
    """pydicom's files of one grey frame of 8 or 16 bits."""
    found = []
    for path in sorted(FILES.rglob("*.dcm")):
        elements = opened(path)
        syntax = getattr(elements.file_meta, "TransferSyntaxUID", None)
        if (
            syntax in set(DCMTK) | GDCM
            and elements.get("SamplesPerPixel") == 1
            and elements.get("BitsAllocated") in (8, 16)
            and str(elements.get("PhotometricInterpretation")).startswith("MONOCHROME")
            and int(elements.get("NumberOfFrames") or 1) == 1
        ):
            found.append(path)
    return found


REFUSED = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "a delimiter was written over its size",
    "MR_truncated.dcm": "is truncated within its pixels",
}
"""Files that we refuse but the tools read, with the reason."""

Native = Callable[[bytes, str], pydicom.Dataset]


@pytest.fixture
def native(tmp_path) -> Native:
    """Let a tool write the object with native pixels, and read the result."""

    def convert(data: bytes, tool: str) -> pydicom.Dataset:
        source, target = tmp_path / "source.dcm", tmp_path / "native.dcm"
        source.write_bytes(data)
        command = [tool, *(["--raw"] if tool == "gdcmconv" else ["+te"]), source, target]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        return opened(target)

    return convert


def stored(elements: pydicom.Dataset) -> np.ndarray:
    """Stored values of native pixels, with their sign."""
    width, bits = elements.BitsAllocated, elements.BitsStored
    words = np.frombuffer(elements.PixelData, f"<u{width // 8}")[: elements.Rows * elements.Columns]
    below = elements.HighBit + 1 - bits
    values = (words.astype(np.int64) >> below) & ((1 << bits) - 1)
    if elements.PixelRepresentation:
        values -= (values >> (bits - 1)) << bits
    return values.reshape(elements.Rows, elements.Columns)


def hold_equal(data: bytes, native: Native, tool: str) -> None:
    found, theirs = ours(data), stored(native(data, tool))
    assert np.abs(found.values - theirs).max() <= LOSSY_STEP.get(found.syntax, 0)


PHANTOMS = [
    (name, bits, signed)
    for name, syntax in SYNTAXES.items()
    for bits in (8, 12, 16)
    for signed in (False, True)
    if bits in syntax.bits and not (signed and syntax.lossy) and not name.startswith("htj2k")
]
"""Without HTJ2K, which neither tool supports."""


@pytest.mark.parametrize(("name", "bits", "signed"), PHANTOMS)
def test_stored_values_of_phantoms_agree(native, name, bits, signed):
    for seed in range(3):
        data = mammogram_object(Encoding(name, bits, signed=signed), seed=seed)
        syntax = SYNTAXES[name].transfer_syntax
        if syntax in DCMTK:
            require("dcmtk")
            hold_equal(data, native, DCMTK[syntax])
        if syntax in GDCM:
            require("libgdcm-tools")
            hold_equal(data, native, "gdcmconv")


@pytest.mark.parametrize("path", grey_samples(), ids=lambda path: path.name)
def test_stored_values_of_pydicoms_files_agree(native, path):
    data = path.read_bytes()
    syntax = opened(path).file_meta.TransferSyntaxUID
    require("dcmtk" if syntax in DCMTK else "libgdcm-tools")
    if path.name in REFUSED:
        with pytest.raises(ImageError):
            ours(data)
        return
    hold_equal(data, native, DCMTK.get(syntax, "gdcmconv"))


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_jpeg_of_dcmtk_is_read(tmp_path, bits, predictor):
    require("dcmtk")
    source, target = tmp_path / "source.dcm", tmp_path / "target.dcm"
    source.write_bytes(mammogram_object(Encoding("explicit", bits)))
    subprocess.run(["dcmcjpeg", "+el", "+sv", str(predictor), source, target], check=True)
    found = ours(target.read_bytes())
    assert found.syntax == uid.JPEGLossless
    assert np.array_equal(found.values, ours(source.read_bytes()).values)


def test_there_are_files_of_most_syntaxes():
    syntaxes = {opened(path).file_meta.TransferSyntaxUID for path in grey_samples()}
    assert len(grey_samples()) >= 20
    assert len(syntaxes) >= 8


def shown_by_dcmtk(data: bytes, folder: Path, native: Native) -> np.ndarray:
    """The image with its first window, float (H, W) in [0, 1]."""
    elements = native(data, DCMTK[ours(data).syntax])
    elements.save_as(folder / "shown.dcm")
    command = ["dcm2pnm", "+Wi", "1", "+on2", folder / "shown.dcm", folder / "shown.png"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    with Image.open(folder / "shown.png") as image:
        return np.asarray(image).astype(np.float64) / 65_535


@pytest.mark.parametrize("window", ["LINEAR", "SIGMOID"])
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("name", ["explicit", "rle", "jpeg-lossless", "jpeg-ls"])
def test_windowed_phantoms(native, tmp_path, name, inverted, window):
    require("dcmtk")
    for seed in range(3):
        for signed in (False, True):
            encoding = Encoding(name, 12, signed=signed, inverted=inverted, window=window)
            data = mammogram_object(encoding, seed=seed)
            # Narrower than the range, and after a rescale.
            centre = (200 if signed else 2248) * 2 - 100
            data = changed(data, WindowCenter=centre, WindowWidth=4000, RescaleSlope=2,
                           RescaleIntercept=-100)  # fmt: skip
            theirs = shown_by_dcmtk(data, tmp_path, native)
            assert np.abs(ours(data).grey - theirs).max() < 2 / 4095
