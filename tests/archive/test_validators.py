"""Others' validators and viewers judge the results."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mammoscope.archive.results import ReportReference, encode_results
from mammoscope.phantoms.dicom import Encoding
from tests.archive.test_results import VIEWS, Engine, sources
from tests.conftest import not_done
from tests.dicom_objects import changed, mammogram_object

PIXELMED = Path("/usr/share/java/pixelmed.jar")
NO_LIMITS = [f"-Djdk.xml.xpath{each}Limit=0" for each in ("ExprOp", "ExprGrp", "TotalOp")]
"""The validator's stylesheets exceed the limits that newer releases of Java set."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Results for two images of other syntaxes and a refused one, with a predecessor.

    PixelMed's time grows with the number of images.
    """
    encodings = [Encoding("big-endian"), Encoding("jpeg-2000"), Encoding("implicit")]
    images = [
        mammogram_object(encoding, laterality=side, view=view)
        for encoding, (side, view) in zip(encodings, VIEWS, strict=False)
    ]
    images[2] = changed(images[2], NumberOfFrames=2)
    earlier = ReportReference("1.2.840.10008.5.1.4.1.1.88.33", "2.25.1", "2.25.2")
    folder = tmp_path_factory.mktemp("results")
    paths = []
    for number, result in enumerate(
        encode_results(sources(images), Engine.card, predecessor=earlier)
    ):
        paths.append(folder / f"{number}.dcm")
        paths[-1].write_bytes(result.data)
    return paths


def test_dciodvfy_finds_no_error(files):
    if not shutil.which("dciodvfy"):
        pytest.skip(not_done("dciodvfy on results; Debian's dicom3tools is not installed"))
    kinds = set()
    for path in files:
        told = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True,
                              check=False).stderr  # fmt: skip
        kinds.add(told.split("\n", 1)[0])
        assert [line for line in told.splitlines() if line.startswith("Error")] == []
    assert kinds == {"ComprehensiveSR", "Segmentation", "SCImage"}


def test_dsrdump_prints_the_report(files):
    if not shutil.which("dsrdump"):
        pytest.skip(not_done("dsrdump on reports; Debian's dcmtk is not installed"))
    ended = subprocess.run(["dsrdump", "+Pl", files[0]], capture_output=True, text=True,
                           check=False)  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    for words in (
        "Imaging Measurement Report, RESEARCH USE ONLY",
        "Predecessor Docs    : 1",
        "Mammoscope breast R",
        'NUM:(,,"Probability of cancer")=',
        "not for diagnosis, screening or treatment",
        "The image has several frames; only one is allowed.",
    ):
        assert words in ended.stdout, words


def test_pixelmed_finds_no_error_in_the_report(files):
    if not (shutil.which("java") and PIXELMED.is_file()):
        pytest.skip(not_done("PixelMed on reports; Debian's libpixelmed-java is not installed"))
    program = "com.pixelmed.validate.DicomSRValidator"
    options = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *NO_LIMITS, "-cp", PIXELMED]
    ended = subprocess.run(["java", *options, program, files[0]], capture_output=True, text=True,
                           check=True)  # fmt: skip
    told = ended.stdout + ended.stderr
    assert "Found Root Template TID_1500 (MeasurementReport)" in told
    assert "IOD validation complete" in told
    assert re.findall(r"^Error.*", told, re.MULTILINE) == []
