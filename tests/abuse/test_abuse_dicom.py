"""DICOM objects in every syntax, and invalid ones."""

import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from mammoscope.phantoms.dicom import SYNTAXES, Encoding
from tests.abuse.service import PLANTED, Abused, assert_refused
from tests.dicom_objects import changed, mammogram_object, parsed, written

pytestmark = pytest.mark.abuse("DICOM")

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
NEAR = 0.02


def send(abused: Abused, data: bytes) -> Any:
    return abused.ask(data=data, headers={"Content-Type": "application/dicom"})


def probability(abused: Abused, data: bytes) -> float:
    answer = send(abused, data)
    assert answer.status_code == 200, answer.text
    assert PLANTED not in answer.text
    return float(answer.json()["probability"])


def encoding(syntax: str, **options: Any) -> Encoding:
    bits = SYNTAXES[syntax].bits
    return Encoding(syntax, bits=12 if 12 in bits else bits[-1], **options)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_syntax_scores_alike(abused: Abused, syntax: str) -> None:
    found = probability(abused, mammogram_object(encoding(syntax)))
    assert math.isclose(found, abused.well["probability"], abs_tol=NEAR)


@pytest.mark.parametrize("syntax", ["explicit", "jpeg-lossless", "rle"])
@pytest.mark.parametrize("window", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
def test_both_photometric_interpretations_score_alike(
    abused: Abused, syntax: str, window: Any
) -> None:
    one, other = (
        probability(abused, mammogram_object(encoding(syntax, inverted=inverted, window=window)))
        for inverted in (False, True)
    )
    assert math.isclose(one, other, abs_tol=NEAR)


def test_a_modality_rescale_changes_nothing(abused: Abused) -> None:
    data = mammogram_object()
    elements = parsed(data)
    window = {
        name: 2 * float(elements[name].value) + offset
        for name, offset in (("WindowCenter", -100), ("WindowWidth", 0))
    }
    rescaled = changed(data, RescaleSlope=2, RescaleIntercept=-100, **window)
    assert math.isclose(probability(abused, rescaled), probability(abused, data), abs_tol=NEAR)


def test_a_voi_lut_is_applied(abused: Abused) -> None:
    elements = parsed(mammogram_object())
    del elements.WindowCenter, elements.WindowWidth
    lut = Dataset()
    lut.LUTDescriptor = [4096, 0, 16]
    lut["LUTDescriptor"].VR = "US"
    lut.LUTData = (np.arange(4096) * 16).astype("<u2").tobytes()
    lut["LUTData"].VR = "OW"
    elements.VOILUTSequence = Sequence([lut])
    found = probability(abused, written(elements))
    assert math.isclose(found, abused.well["probability"], abs_tol=NEAR)


IDENTIFYING = dict.fromkeys(
    (
        "PatientName", "PatientID", "OtherPatientNames", "PatientAddress", "InstitutionName",
        "ReferringPhysicianName", "PatientComments", "StudyDescription", "SeriesDescription",
        "StationName", "OperatorsName", "ImageComments", "AccessionNumber",
    ),
    PLANTED,
)  # fmt: skip


def test_identifying_tags_leave_no_trace(abused: Abused) -> None:
    data = changed(mammogram_object(), **IDENTIFYING)
    plain = probability(abused, mammogram_object())
    assert probability(abused, data) == plain
    study = abused.ask("/studies", files=[("file", ("a.dcm", data))])
    assert study.status_code == 200, study.text
    assert PLANTED not in study.text
    refused = changed(data, Modality="CT")
    assert_refused(send(abused, refused), 422, "not_a_mammogram")


@pytest.mark.parametrize(
    "changes",
    [
        {"PatientName": None, "PatientID": None, "StudyInstanceUID": None},
        {"ViewPosition": None, "ImageLaterality": None, "Laterality": None},
        {"PatientAge": "???Y"},
        {"PatientBirthDate": "yesterday"},
        {"ViewPosition": PLANTED},
        {"ImageLaterality": "X"},
        {"WindowWidth": None, "WindowCenter": None},
        {"Manufacturer": PLANTED * 6},
    ],
    ids=" ".join,
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom warns about these values
def test_optional_tags_may_be_missing_or_malformed(abused: Abused, changes: dict[str, Any]) -> None:
    probability(abused, changed(mammogram_object(), **changes))


def native(**changes: Any) -> Callable[[], bytes]:
    return lambda: changed(mammogram_object(), **changes)


def compressed(**changes: Any) -> Callable[[], bytes]:
    return lambda: changed(mammogram_object(encoding("jpeg-2000")), **changes)


def deflate_bomb() -> bytes:
    deflated = mammogram_object(encoding("deflated"))
    end = 132 + 12 + parsed(deflated).file_meta.FileMetaInformationGroupLength
    body = zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated[end:])
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    packed = [packer.compress(body), *(packer.compress(bytes(1_000_000)) for _ in range(100))]
    return b"".join((deflated[:end], *packed, packer.flush()))


def codestream_bomb() -> bytes:
    import imagecodecs

    large = np.zeros((5000, 5000), np.uint16)
    elements = parsed(mammogram_object(encoding("jpeg-2000")))
    stream = imagecodecs.jpeg2k_encode(large, level=0, codecformat="j2k")
    elements.PixelData = encapsulate([bytes(stream)])
    return written(elements)


def nested() -> bytes:
    data = mammogram_object()
    start = data.index(b"\x08\x00\x05\x00CS")
    endless = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 50_000
    return data[:start] + endless + data[start:]


def with_preamble(preamble: bytes) -> Callable[[], bytes]:
    return lambda: preamble.ljust(128, b"\0") + mammogram_object()[128:]


def of_pydicom(name: str) -> Callable[[], bytes]:
    return min(FILES.rglob(name)).read_bytes


REFUSALS: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "more rows than pixels": (native(Rows=257), 422, "corrupt_image"),
    "fewer rows than pixels": (native(Rows=128), 422, "corrupt_image"),
    "fewer columns than pixels": (native(Columns=207), 422, "corrupt_image"),
    "compressed, other rows": (compressed(Rows=255), 422, "corrupt_image"),
    "65535 x 65535": (native(Rows=65_535, Columns=65_535), 413, "image_too_large"),
    "compressed, 65535 x 65535": (compressed(Rows=65_535, Columns=65_535), 413, "image_too_large"),
    "no rows": (native(Rows=None), 422, "corrupt_image"),
    "rows of none": (native(Rows=0), 422, "corrupt_image"),
    "no bits": (native(BitsAllocated=None), 422, "corrupt_image"),
    "bits that contradict": (native(BitsStored=13, HighBit=11), 422, "corrupt_image"),
    "no PixelData": (native(PixelData=None), 415, "unsupported_image"),
    "empty PixelData": (native(PixelData=b""), 422, "corrupt_image"),
    "several frames": (native(NumberOfFrames=10), 415, "unsupported_image"),
    "FOR PROCESSING": (native(PresentationIntentType="FOR PROCESSING"), 415, "unsupported_image"),
    "deflate bomb": (deflate_bomb, 413, "image_too_large"),
    "codestream of another size": (codestream_bomb, 422, "corrupt_image"),
    "sequences without end": (nested, 422, "corrupt_image"),
    "program in the preamble": (with_preamble(b"MZ\x90\x00"), 415, "unsupported_image"),
    "script in the preamble": (with_preamble(b"#!/bin/sh\n"), 415, "unsupported_image"),
    "structured report": (of_pydicom("reportsi.dcm"), 422, "not_a_mammogram"),
    "DICOMDIR": (of_pydicom("DICOMDIR"), 422, "not_a_mammogram"),
    "CT": (of_pydicom("CT_small.dcm"), 422, "not_a_mammogram"),
    "half an object": (lambda: mammogram_object()[:3_000], 422, "corrupt_image"),
    "prefix alone": (lambda: bytes(128) + b"DICM", 422, "corrupt_image"),
    "prefix and noise": (lambda: bytes(128) + b"DICM" + b"\xff" * 1_000, 422, "corrupt_image"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refused(abused: Abused, case: str) -> None:
    make, status, code = REFUSALS[case]
    assert_refused(send(abused, make()), status, code)
