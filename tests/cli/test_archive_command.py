"""``mammoscope archive report``: the results of a folder's studies as DICOM files."""

from pathlib import Path

import pytest
from pydicom import dcmread

from mammoscope.__main__ import main
from mammoscope.phantoms.dicom import Encoding
from tests.dicom_objects import changed, mammogram_object, parsed

VIEWS = [("R", "CC"), ("R", "MLO"), ("L", "CC"), ("L", "MLO")]


def write_study(folder: Path, seed: int, syntax: str = "explicit") -> str:
    """Write four views; returns the Study Instance UID."""
    folder.mkdir(parents=True)
    for side, view in VIEWS:
        data = mammogram_object(Encoding(syntax), seed=seed, laterality=side, view=view)
        (folder / f"{side}_{view}.dcm").write_bytes(data)
    return str(parsed(data).StudyInstanceUID)


@pytest.fixture
def report(artifact_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Run the command; returns the exit status and what it printed."""

    def run(folder: Path) -> tuple[int, str, str]:
        model = ["--model", str(artifact_folder)]
        status = main(["archive", "report", str(folder), "--output", str(tmp_path / "out"), *model])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def test_every_study_gets_its_results(report, tmp_path):
    studies = tmp_path / "studies"
    uids = [write_study(studies / "a", 3), write_study(studies / "b", 4, "jpeg-2000")]
    status, out, err = report(studies)
    assert (status, err) == (0, "")
    for uid in uids:
        assert f"{uid}: 4 of 4 images" in out
        objects = [dcmread(path) for path in sorted((tmp_path / "out" / uid).iterdir())]
        assert [each.Modality for each in objects] == [*["SEG"] * 4, *["OT"] * 4, "SR"]
        assert {each.StudyInstanceUID for each in objects} == {uid}
    assert "not for diagnosis" in out

    # What it wrote is nothing to predict, and it replaces nothing.
    written = tmp_path / "out" / uids[0] / "report.dcm"
    before = written.read_bytes()
    (tmp_path / "out").rename(studies / "results")
    (tmp_path / "out" / uids[0]).mkdir(parents=True)
    status, out, _ = report(studies)
    assert status == 1
    assert out.count("left out") == 18
    assert "already has results" in out
    assert (studies / "results" / uids[0] / "report.dcm").read_bytes() == before
    assert list((tmp_path / "out" / uids[0]).iterdir()) == []


def test_what_is_no_mammogram_is_left_out_and_what_is_damaged_refused(report, tmp_path):
    studies = tmp_path / "studies"
    uid = write_study(studies, 3)
    good = (studies / "R_CC.dcm").read_bytes()
    (studies / "copy.dcm").write_bytes(good)
    (studies / "note.png").write_bytes(b"\x89PNG")
    (studies / "us.dcm").write_bytes(changed(good, Modality="US"))
    damaged = (studies / "L_MLO.dcm").read_bytes()
    (studies / "L_MLO.dcm").write_bytes(damaged[: len(damaged) // 2])
    status, out, err = report(studies)
    assert (status, err) == (1, "")
    lines = {Path(line.split()[2 if line.startswith("left") else 1].rstrip(":")).name: line
             for line in out.splitlines()[:-1]}  # fmt: skip
    assert "copy of another" in lines["copy.dcm"]
    assert lines["note.png"].startswith("left out")
    assert "modality is US" in lines["us.dcm"]
    assert lines["L_MLO.dcm"].startswith("refused")
    assert lines["L_MLO.dcm"].endswith("[corrupt_image]")
    assert f"{uid}: 3 of 4 images" in out
    assert len(list((tmp_path / "out" / uid).iterdir())) == 7


@pytest.mark.parametrize("uid", ["../../elsewhere", "..", "", "1.2/3"])
def test_a_study_without_a_valid_uid_is_refused(uid, report, tmp_path):
    (tmp_path / "one.dcm").write_bytes(changed(mammogram_object(), StudyInstanceUID=uid))
    status, out, _ = report(tmp_path)
    assert status == 1
    assert "no valid Study Instance UID. [result_refused]" in out
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_without_mammograms_is_refused(report, tmp_path):
    (tmp_path / "note.png").write_bytes(b"\x89PNG")
    status, out, err = report(tmp_path)
    assert status == 1
    assert "left out" in out
    assert "no mammograms in DICOM" in err
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_no_half_a_study(report, tmp_path, monkeypatch):
    studies = tmp_path / "studies"
    uid = write_study(studies, 3)
    written = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "picture_02.dcm":
            raise OSError(28, "No space left on device")
        return written(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    status, _, err = report(studies)
    assert status == 1
    assert "cannot be written" in err
    assert list((tmp_path / "out").iterdir()) == []
    assert uid not in err
