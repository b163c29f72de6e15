"""`mammoscope dev gate`: fitting, measuring and output."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mammoscope.__main__ import main
from mammoscope.errors import EmptyDatasetError
from mammoscope.evaluation.arrangements import arrange
from mammoscope.evaluation.gate import Source, find_sources, fit, see, wilson
from mammoscope.model.artifact.folder import load_artifact
from tests.imaging.test_learned_gate import drawn_chest, mammogram, phantom


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawings of chests, and a file that is not an image."""
    folder = tmp_path_factory.mktemp("others")
    for seed in range(24):
        pixels = np.rint(drawn_chest(seed) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    (folder / "report.txt").write_text("no image")
    return folder


PHANTOMS = 40


@pytest.fixture(autouse=True)
def _few_phantoms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw fewer, which takes most of the time."""
    monkeypatch.setattr("mammoscope.evaluation.gate.PHANTOMS", PHANTOMS)


@pytest.fixture
def model(artifact_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact_folder, tmp_path / "model"))


def test_one_half_is_fitted_and_the_other_measured(
    model: Path, others: Path, phantom_dataset: Path, tmp_path: Path, capsys
):
    network = (model / "model.keras").read_bytes()
    folders = ["--mammograms", str(phantom_dataset), "--others", str(others)]
    asked = ["dev", "gate", "--model", str(model), *folders, "--pairs", "2"]
    asked += ["--json", str(tmp_path / "gate.json")]
    assert main([*asked, "--fit"]) == 0
    printed = capsys.readouterr().out
    assert "95 % confidence intervals" in printed
    card = load_artifact(model).require_card()
    assert card.gate is not None
    assert (model / "model.keras").read_bytes() == network
    first = json.loads((tmp_path / "gate.json").read_text())
    assert first["model_version"] == "tiny-1"
    mammograms, chests = first["counts"]["mammograms"], first["counts"]["other images"]
    held_out = [each for each in find_sources(phantom_dataset) if each.held_out]
    assert mammograms[str(phantom_dataset)]["images"] == len(held_out)
    assert mammograms["phantoms"]["passed"] == mammograms["phantoms"]["images"] == PHANTOMS
    assert chests[str(others)]["passed"] == 0
    assert 0 < chests[str(others)]["images"] < 24
    assert all(each["images"] == 2 for each in first["counts"]["arranged"].values())
    # Without --fit, the card stays unchanged, and so do the counts.
    written = (model / "card.json").read_bytes()
    assert main(asked) == 0
    assert (model / "card.json").read_bytes() == written
    assert json.loads((tmp_path / "gate.json").read_text()) == first


def test_too_few_images_for_fitting_are_refused(
    model: Path, others: Path, phantom_dataset: Path, tmp_path
):
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(others / "0.png", few)
    before = (model / "card.json").read_bytes()
    asked = ["dev", "gate", "--fit", "--model", str(model), "--mammograms", str(phantom_dataset)]
    assert main([*asked, "--others", str(few)]) == 1
    (few / "0.png").unlink()
    assert main([*asked, "--others", str(few)]) == 1
    assert (model / "card.json").read_bytes() == before
    with pytest.raises(EmptyDatasetError):
        fit([], [])


def test_images_of_a_patient_stay_together(phantom_dataset: Path, tmp_path: Path):
    found = find_sources(phantom_dataset)
    assert len({each.group for each in found}) == 12 < len(found)
    for name in ("A_1_1.LEFT_CC.jpg", "A_1_1.RIGHT_MLO.jpg"):
        (tmp_path / name).write_bytes(b"")
    assert {each.group for each in find_sources(tmp_path)} == {"A_1_1"}
    halves = [Source(Path(), str(number)).held_out for number in range(1000)]
    assert 400 < sum(halves) < 600


@pytest.mark.parametrize(
    ("hits", "count", "expected"),
    [(0, 10, (0.0, 0.2775)), (10, 10, (0.7225, 1.0)), (8, 10, (0.4902, 0.9433)), (0, 0, (0, 1))],
)
def test_intervals_follow_wilson(hits, count, expected):
    assert wilson(hits, count) == pytest.approx(expected, abs=1e-4)


def test_arrangements_do_not_pass_without_a_warning():
    size = (299, 299)
    found = [
        (name, see(image, size, None))
        for seed in range(0, 8, 2)
        for name, image in arrange(phantom(seed), phantom(seed + 1)[:, ::-1])
    ]
    assert [name for name, seen in found if not (seen.refused or seen.doubted)] == []
    assert all(seen.refused for name, seen in found if name.startswith("thumbnails"))
    assert see(mammogram(phantom(0)), size, None).refused == ""
