"""``mammoscope predict`` on files that exceed the limits."""

import io
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mammoscope.__main__ import main
from mammoscope.imaging.pool import PoolLimits, ReadingPool
from tests.dicom_objects import changed, mammogram_object


def deep_png() -> bytes:
    """Encode 49 million 16-bit samples in a small file."""
    stream = io.BytesIO()
    Image.fromarray(np.zeros((7000, 7000), np.uint16)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("study", [False, True])
def test_a_file_beyond_the_limits_is_refused_alone(
    study: bool,
    phantom_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The file is refused, and every other file is predicted."""
    limits = PoolLimits(memory_bytes=96 << 20)
    monkeypatch.setattr("mammoscope.cli.predict.ReadingPool", partial(ReadingPool, limits=limits))
    images = tmp_path / "images"
    images.mkdir()
    (images / "deep.png").write_bytes(deep_png())
    for path in sorted(phantom_folder.iterdir())[:3]:
        (images / path.name).write_bytes(path.read_bytes())
    lines = tmp_path / "lines.json"

    assert (
        main(["predict", *(["--study"] if study else []), "--json", str(lines), str(images)]) == 1
    )

    if study:
        answers = json.loads(lines.read_text(encoding="utf-8"))["images"]
    else:
        answers = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    errors = [each["error"]["code"] for each in answers if each.get("error")]
    assert errors == ["decoding_limit"]
    assert sum("probability" in each for each in answers) == 3
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("patients", [("a", "a"), ("a", "b")])
def test_two_patients_in_a_study_are_warned_about(
    patients: tuple[str, str],
    artifact_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for view, patient in zip(("CC", "MLO"), patients, strict=True):
        data = changed(mammogram_object(seed=1, view=view), PatientID=patient)
        (tmp_path / f"{view}.dcm").write_bytes(data)
    assert main(["predict", "--study", str(tmp_path), "--model", str(artifact_folder)]) == 0
    told = capsys.readouterr().err
    assert ("name several patients" in told) == (len(set(patients)) > 1)
