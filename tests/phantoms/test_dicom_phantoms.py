"""Phantoms as DICOM objects are valid by the standard's rules for mammography."""

import shutil
import subprocess
from pathlib import Path

import pytest
from pydicom import dcmread, uid

from mammoscope.__main__ import main
from mammoscope.errors import ConfigurationError
from mammoscope.imaging.reading import read_file
from mammoscope.phantoms.dicom import SYNTAXES, Encoding, write_phantom_study
from tests.conftest import not_done
from tests.dicom_objects import changed, mammogram_object, parsed, written

# PS3.3 A.26: elements of type 1, and elements that depend on them.
REQUIRED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "PresentationIntentType",
    "ImageType",
    "PixelIntensityRelationship",
    "PixelIntensityRelationshipSign",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "PresentationLUTShape",
    "LossyImageCompression",
    "BurnedInAnnotation",
    "ImageLaterality",
    "OrganExposed",
    "PositionerType",
    "ViewCodeSequence",
    "AnatomicRegionSequence",
    "PatientOrientation",
    "ImagerPixelSpacing",
    "DetectorType",
)


def encoding(name: str, **options) -> Encoding:
    bits = SYNTAXES[name].bits
    return Encoding(name, bits=12 if 12 in bits else bits[-1], **options)


@pytest.mark.parametrize("name", SYNTAXES)
def test_objects_have_the_elements_that_the_standard_requires(name):
    elements = parsed(mammogram_object(encoding(name)))
    assert elements.file_meta.TransferSyntaxUID == SYNTAXES[name].transfer_syntax
    assert [each for each in REQUIRED if elements.get(each) in (None, "")] == []
    assert (elements.LossyImageCompression == "01") is bool(SYNTAXES[name].lossy)
    assert elements.WindowWidth > 1


# What a release of 2022 cannot unpack: the same elements under a syntax that it knows.
SHOWN_AS = {
    "deflated": uid.ExplicitVRLittleEndian,
    "htj2k": uid.JPEG2000Lossless,
    "htj2k-lossy": uid.JPEG2000,
}


@pytest.fixture(scope="module")
def dciodvfy():
    if not shutil.which("dciodvfy"):
        pytest.skip(not_done("dciodvfy on what is written; Debian's dicom3tools is not installed"))

    def errors_of(path: Path) -> list[str]:
        ended = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True,
                               check=False)  # fmt: skip
        assert "MammographyImageForPresentation" in ended.stderr, ended.stderr
        errors = [line for line in ended.stderr.splitlines() if line.startswith("Error")]
        assert bool(errors) is bool(ended.returncode), ended.stderr
        return errors

    return errors_of


@pytest.mark.parametrize("name", SYNTAXES)
def test_dciodvfy_finds_no_error(name, dciodvfy, tmp_path):
    for inverted in (False, True):
        data = mammogram_object(encoding(name, inverted=inverted))
        if name in SHOWN_AS:
            elements = parsed(data)
            elements.file_meta.TransferSyntaxUID = SHOWN_AS[name]
            data = written(elements)
        path = tmp_path / "object.dcm"
        path.write_bytes(data)
        assert dciodvfy(path) == []


def test_dciodvfy_finds_no_error_in_a_study(dciodvfy, tmp_path):
    for path in write_phantom_study(tmp_path, seed=4, tumour=True):
        assert dciodvfy(path) == []


def test_dciodvfy_detects_an_error(dciodvfy, tmp_path):
    path = tmp_path / "object.dcm"
    path.write_bytes(changed(mammogram_object(), ViewCodeSequence=None))
    assert ["ViewCodeSequence" in error for error in dciodvfy(path)] == [True]


def test_a_study_has_four_views(tmp_path):
    paths = write_phantom_study(tmp_path, seed=4)
    objects = [dcmread(path) for path in paths]
    assert len({each.StudyInstanceUID for each in objects}) == 1
    assert len({each.SOPInstanceUID for each in objects}) == 4
    views = {(each.laterality, each.view) for each in map(read_file, paths)}
    assert views == {("R", "CC"), ("R", "MLO"), ("L", "CC"), ("L", "MLO")}


def test_equal_phantoms_give_equal_files():
    assert mammogram_object() == mammogram_object()
    assert mammogram_object() != mammogram_object(seed=4)


@pytest.mark.parametrize(
    "options",
    [{"syntax": "gif"}, {"syntax": "jpeg", "bits": 12}, {"bits": 17},
     {"syntax": "jpeg-ls-near", "signed": True}],
)  # fmt: skip
def test_invalid_encodings_are_refused(options):
    with pytest.raises(ConfigurationError):
        Encoding(**options)


def test_the_command_writes_studies(tmp_path, capsys):
    assert main(["phantoms", str(tmp_path), "--studies", "--count", "2", "--syntax", "jpeg"]) == 0
    paths = capsys.readouterr().out.splitlines()
    assert len(paths) == 8
    assert read_file(tmp_path / "phantom_000_L_CC.dcm").source.bits == 8
    assert main(["phantoms", str(tmp_path), "--studies", "--count", "0"]) == 2
    capsys.readouterr()
    assert main(["phantoms", str(tmp_path), "--exams", "--count", "1"]) == 0
    answered = capsys.readouterr()
    assert len(answered.out.splitlines()) == 4
    assert "deprecated" in answered.err
