import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammoscope.errors import (
    ArtifactMismatchError,
    ArtifactNotFoundError,
    ConfigurationError,
    StorageError,
)
from mammoscope.model.artifact import (
    Card,
    CardComparison,
    CardCompiled,
    CardFile,
    CompiledFiles,
    load_artifact,
    sha256_of,
    write_card,
)
from mammoscope.model.calibration import Calibration


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


@pytest.fixture
def compiled_folder(folder: Path) -> Path:
    """The folder with two files as a compiled network."""
    files = {}
    for name in ("model.xml", "model.bin"):
        (folder / name).write_bytes(f"content of {name}".encode())
        files[name] = CardFile(name=name, sha256=sha256_of(folder / name))
    card = load_artifact(folder).card
    assert card is not None
    compiled = CardCompiled(
        kind="int8",
        source_sha256=card.sha256,
        topology=files["model.xml"],
        weights=files["model.bin"],
        method="quantised",
        speed=2.5,
        comparison=CardComparison(
            source="phantoms", pictures=4, positives=2, auc_float=0.75, auc_compiled=0.75,
            max_difference=0.01, percentile_95_difference=0.008, mean_difference=0.005,
            labels_changed=0,
            allowed_auc_difference=0.005, allowed_difference=0.03,
        ),
    )  # fmt: skip
    write_card(folder, card.model_copy(update={"compiled": compiled}))
    return folder


def test_the_compiled_network_belongs_to_the_artifact(compiled_folder: Path):
    expected = CompiledFiles(compiled_folder / "model.xml", compiled_folder / "model.bin")
    for path in (compiled_folder, compiled_folder / "model.keras"):
        assert load_artifact(path).compiled == expected


def test_compiled_files_that_no_card_names_are_not_used(folder: Path):
    (folder / "model.xml").write_bytes(b"left over")
    assert load_artifact(folder).compiled is None


@pytest.mark.parametrize("name", ["model.xml", "model.bin"])
def test_another_compiled_network_is_refused(compiled_folder: Path, name: str):
    (compiled_folder / name).write_bytes(b"another network")
    for path in (compiled_folder, compiled_folder / "model.keras"):
        with pytest.raises(ArtifactMismatchError, match="compiled network is not the one"):
            load_artifact(path)
    (compiled_folder / name).unlink()
    with pytest.raises(ArtifactMismatchError, match="not there"):
        load_artifact(compiled_folder)


@pytest.mark.parametrize(
    "change",
    [
        {"source_sha256": "0" * 64},
        {"topology": {"name": "../model.xml", "sha256": "0" * 64}},
        {"topology": {"name": "/model.xml", "sha256": "0" * 64}},
        {"kind": "int4"},
        {"surprise": 1},
    ],
)
def test_a_card_whose_compiled_network_cannot_be_trusted_is_refused(compiled_folder: Path, change):
    path = compiled_folder / "card.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "compiled": {**facts["compiled"], **change}}))
    with pytest.raises(ArtifactMismatchError, match="damaged"):
        load_artifact(compiled_folder)


def test_a_retrained_network_does_not_keep_the_compiled_one(compiled_folder: Path):
    (compiled_folder / "model.keras").write_bytes(b"other weights")
    with pytest.raises(ArtifactMismatchError, match="another network"):
        load_artifact(compiled_folder)


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
    calibration = Calibration(slope=slope, intercept=intercept)
    probability = calibration.probability(logit)
    assert 0 <= probability <= 1
    assert probability <= calibration.probability(np.nextafter(logit, np.inf))
