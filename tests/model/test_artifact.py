import json
from pathlib import Path
from typing import Any

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
from mammoscope.model.artifact.card import Card
from mammoscope.model.artifact.folder import CARD_SCHEMA, load_artifact, sha256_of, write_card
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


COMPARISON = {
    "source": "pictures", "pictures": 4, "positives": 2, "auc_float": 0.75, "auc_compiled": 0.75,
    "max_difference": 0.01, "percentile_95_difference": 0.008, "mean_difference": 0.005,
    "labels_changed": 0, "allowed_auc_difference": 0.005, "allowed_difference": 0.03,
}  # fmt: skip


@pytest.fixture
def earlier(folder: Path) -> dict[str, Any]:
    """The part of a card of version 0.1.0 that named the compiled files."""
    card = load_artifact(folder).card
    assert card is not None
    return {
        "kind": "float",
        "source_sha256": card.sha256,
        "topology": {"name": "model.xml", "sha256": "1" * 64},
        "weights": {"name": "model.bin", "sha256": "2" * 64},
        "method": "bfloat16",
        "comparison": COMPARISON,
        "rounded": True,
        "share_in_8_bits": 0.0,
        "float_blocks": [],
        "speed": 1.9,
        "throughput": 1.8,
        "phantom_logits": [0.5, 1.5],
        "packages": {"openvino": "1", "nncf": "2", "keras": "3"},
    }


def change_card(folder: Path, compiled: dict[str, Any]) -> None:
    facts = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**facts, "compiled": compiled}))


def test_an_earlier_card_is_read_without_its_files(folder: Path, earlier: dict[str, Any]):
    assert load_artifact(folder).precision == "float32"
    change_card(folder, earlier)
    artifact = load_artifact(folder)
    assert artifact.precision == "bfloat16"
    assert artifact.card is not None
    compiled = artifact.card.compiled
    assert compiled is not None
    assert compiled.reference_logits == (0.5, 1.5)
    assert compiled.packages == {"openvino": "1", "keras": "3"}
    assert (compiled.comparison.source, compiled.comparison.images) == ("images", 4)
    write_card(folder, artifact.card)
    assert load_artifact(folder) == artifact
    assert "model.bin" not in (folder / "card.json").read_text()


@pytest.mark.parametrize("method", ["quantised", "quantised_except_blocks", "float16_weights"])
def test_an_earlier_card_of_an_obsolete_form_is_read(
    folder: Path, earlier: dict[str, Any], method: str
):
    change_card(folder, {**earlier, "method": method})
    artifact = load_artifact(folder)
    assert artifact.precision == "float32"
    assert artifact.card is not None
    assert artifact.card.compiled is None


@pytest.mark.parametrize(
    "change",
    [{"source_sha256": "0" * 64}, {"comparison": 1}, {"comparison": {}}, {"packages": 1},
     {"phantom_logits": ["a"]}],
)  # fmt: skip
def test_a_damaged_earlier_card_is_refused(folder: Path, earlier: dict[str, Any], change):
    change_card(folder, {**earlier, **change})
    with pytest.raises(ArtifactMismatchError, match="damaged"):
        load_artifact(folder)


@pytest.mark.parametrize("change", [{"precision": "int8"}, {"surprise": 1}, {"comparison": None}])
def test_a_damaged_precision_is_refused(folder: Path, earlier: dict[str, Any], change):
    change_card(folder, earlier)
    card = load_artifact(folder).card
    assert card is not None
    assert card.compiled is not None
    change_card(folder, {**card.compiled.model_dump(mode="json"), **change})
    with pytest.raises(ArtifactMismatchError, match="damaged"):
        load_artifact(folder)


def test_an_unknown_operating_point_is_refused(folder: Path):
    card = load_artifact(folder).card
    assert card is not None
    with pytest.raises(ConfigurationError, match="it has default"):
        card.threshold("best")


def test_a_modified_model_is_refused(folder: Path):
    (folder / "model.keras").write_bytes(b"weightz")
    for path in (folder, folder / "model.keras"):
        with pytest.raises(ArtifactMismatchError, match="sha256"):
            load_artifact(path)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"version": "1", "surprise": 2}'])
def test_a_damaged_card_is_refused(folder: Path, text: str):
    (folder / "card.json").write_text(text)
    with pytest.raises(ArtifactMismatchError, match="damaged"):
        load_artifact(folder)


def test_a_card_has_a_schema_and_one_without_is_read(folder: Path):
    path = folder / "card.json"
    card = load_artifact(folder).card
    content = json.loads(path.read_text())
    assert content.pop("schema") == CARD_SCHEMA
    path.write_text(json.dumps(content))
    assert load_artifact(folder).card == card


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            CARD_SCHEMA + 1,
            rf"This card has schema {CARD_SCHEMA + 1}; this version of Mammoscope reads up to "
            rf"{CARD_SCHEMA}\. Upgrade Mammoscope\.",
        ),
        (0, "no valid schema version"),
        (True, "no valid schema version"),
        ("new", "no valid schema version"),
        (1.5, "no valid schema version"),
    ],
)
def test_a_card_of_another_schema_is_refused(folder: Path, schema: Any, message: str):
    path = folder / "card.json"
    # Fields of a newer version are not reported as damage.
    content = {**json.loads(path.read_text()), "schema": schema, "added": 1}
    path.write_text(json.dumps(content))
    with pytest.raises(ArtifactMismatchError, match=message):
        load_artifact(folder)


def test_missing_files_are_named(folder: Path, tmp_path: Path):
    with pytest.raises(ArtifactNotFoundError, match="no model"):
        load_artifact(tmp_path / "elsewhere")
    (folder / "card.json").unlink()
    with pytest.raises(ArtifactNotFoundError, match=r"no card\.json"):
        load_artifact(folder)
    assert load_artifact(folder / "model.keras").card is None


@pytest.mark.parametrize("content", ["", "{}"])
def test_a_damaged_card_is_named(folder: Path, content: str):
    path = folder / "card.json"
    path.write_text(content)
    with pytest.raises(ArtifactMismatchError) as refused:
        load_artifact(folder)
    assert refused.value.path == path
    assert str(path) not in str(refused.value)  # a service does not tell it


def test_an_unwritable_card_is_reported(folder: Path):
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
