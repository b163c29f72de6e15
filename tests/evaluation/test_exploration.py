"""Exploration of a data set before training."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mammoscope.__main__ import main
from mammoscope.data.dataset import Example
from mammoscope.data.scanner_groups import THUMBNAIL, Appearance
from mammoscope.errors import RunError
from mammoscope.evaluation.exploration import explore_once
from mammoscope.evaluation.leakage import measure_leakage
from mammoscope.reports.data import (
    draw_classes,
    draw_inverted,
    draw_leakage,
    draw_looks,
    draw_shortcuts,
    draw_sizes,
)


@pytest.fixture(scope="module")
def found(phantom_dataset: Path, tmp_path_factory) -> dict:
    record = tmp_path_factory.mktemp("exploration") / "dataset.json"
    assert main(["dev", "explore", str(phantom_dataset), "--json", str(record)]) == 0
    return json.loads(record.read_text())


def test_the_record_counts_all_images_and_has_no_names(found, phantom_dataset):
    assert found["pictures"] == 48
    assert found["merged"]["train"]["pictures"] + found["merged"]["test"]["pictures"] == 48
    learnable = 48 - found["splits"]["test"]["pictures"]
    assert len(found["looks"]["x"]) == len(found["looks"]["label"]) == learnable
    assert sum(sum(row.values()) for row in found["groups"]["view"].values()) == learnable
    text = json.dumps(found)
    for path in phantom_dataset.rglob("*.jpg"):
        assert path.name not in text
        assert path.name.split("_")[0] not in text  # the patient
    assert str(phantom_dataset) not in text


def test_a_record_is_used_and_a_damaged_one_refused(found, phantom_dataset, tmp_path):
    record = tmp_path / "dataset.json"
    record.write_text('{"pictures": 7}')
    assert explore_once(phantom_dataset, record) == {"pictures": 7}
    record.write_text("{")
    with pytest.raises(RunError):
        explore_once(phantom_dataset, record)


def test_an_existing_record_is_kept_if_there_is_nothing_to_explore(tmp_path):
    record = tmp_path / "dataset.json"
    record.write_text('{"pictures": 7}')
    assert main(["dev", "explore", str(tmp_path / "nothing"), "--json", str(record)]) == 1
    (tmp_path / "0").mkdir()
    assert main(["dev", "explore", str(tmp_path), "--json", str(record)]) == 1
    assert record.read_text() == '{"pictures": 7}'


def test_results_can_be_drawn(found):
    drawings = [
        draw_classes(found),
        draw_sizes(found["sizes"]),
        draw_inverted(found["inverted"]),
        draw_looks(found["looks"]),
        draw_leakage(found["leakage"]),
        draw_shortcuts(found["shortcuts"]),
    ]
    assert all(figure.axes for figure in drawings)
    inverted = drawings[2].axes[0]
    assert sum(bar.get_height() for bar in inverted.patches) == 48


def _seen(known_again: float) -> list[Appearance]:
    """Images of 60 patients, four each; part of each thumbnail is specific to the patient."""
    rng = np.random.default_rng(1)
    images = []
    for patient in range(60):
        own = rng.integers(0, 256, THUMBNAIL)
        for number in range(4):
            other = rng.integers(0, 256, THUMBNAIL)
            pixels = known_again * own + (1 - known_again) * other
            example = Example(
                Path(f"{patient}-{number}.png"), patient % 2, "train", str(patient), str(number),
                patient_known=True,
            )  # fmt: skip
            images.append(Appearance(example, np.zeros(24, np.float32), pixels.astype(np.uint8)))
    return images


def test_a_split_by_image_rewards_recognising_patients():
    leakage = measure_leakage(_seen(0.8))
    assert leakage.by_patient.shared_patients == 0
    assert leakage.by_image.shared_patients > 0.9 * leakage.by_image.judged_patients
    assert leakage.by_patient.auc.low < 0.5 < leakage.by_patient.auc.high
    assert leakage.by_image.auc.value > 0.9
    assert leakage.difference.low > 0.2


def test_dissimilar_images_leak_nothing():
    leakage = measure_leakage(_seen(0.0))
    assert leakage.difference.low < 0 < leakage.difference.high


def test_leakage_needs_thumbnails():
    with pytest.raises(ValueError, match="thumbnails"):
        measure_leakage([replace(each, thumbnail=None) for each in _seen(0.5)])
