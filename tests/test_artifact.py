import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammoscope.artifact import (
    Card,
    CardCalibration,
    load_artifact,
    sha256_of,
    write_card,
)
from mammoscope.errors import (
    ArtifactMismatchError,
    ArtifactNotFoundError,
    ConfigurationError,
    StorageError,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.keras").write_bytes(b"weights")
    write_card(
        tmp_path,
        Card(version="1", sha256=sha256_of(tmp_path / "model.keras"), input_size=(384, 288)),
    )
    return tmp_path


def test_folder_and_file_name_the_same_model(folder: Path):
    artifact = load_artifact(folder)
    assert artifact == load_artifact(folder / "model.keras")
    assert artifact.card is not None
    assert artifact.card.threshold("default") == 0.5


def test_an_unknown_operating_point_is_refused(folder: Path):
    card = load_artifact(folder).card
    assert card is not None
    with pytest.raises(ConfigurationError, match="it has default"):
        card.threshold("best")


def test_a_model_that_was_changed_is_refused(folder: Path):
    (folder / "model.keras").write_bytes(b"weightz")
    for path in (folder, folder / "model.keras"):
        with pytest.raises(ArtifactMismatchError, match="sha256"):
            load_artifact(path)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"version": "1", "surprise": 2}'])
def test_a_damaged_card_is_refused(folder: Path, text: str):
    (folder / "card.json").write_text(text)
    with pytest.raises(ArtifactMismatchError, match="damaged"):
        load_artifact(folder)


def test_what_is_missing_is_named(folder: Path, tmp_path: Path):
    with pytest.raises(ArtifactNotFoundError, match="no model"):
        load_artifact(tmp_path / "elsewhere")
    (folder / "card.json").unlink()
    with pytest.raises(ArtifactNotFoundError, match=r"no card\.json"):
        load_artifact(folder)
    assert load_artifact(folder / "model.keras").card is None


def test_a_card_that_cannot_be_written(folder: Path):
    card = load_artifact(folder).card
    assert card is not None
    with pytest.raises(StorageError):
        write_card(folder / "missing", card)


def test_the_card_is_readable_json(folder: Path):
    assert json.loads((folder / "card.json").read_text())["input_size"] == [384, 288]


@given(logit=st.floats(-1e6, 1e6), slope=st.floats(0.001, 100), intercept=st.floats(-50, 50))
def test_probabilities_are_probabilities(logit, slope, intercept):
    calibration = CardCalibration(slope=slope, intercept=intercept)
    probability = calibration.probability(logit)
    assert 0 <= probability <= 1
    assert probability <= calibration.probability(np.nextafter(logit, np.inf))
