"""Drift is reported for images unlike those in training only."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammoscope.__main__ import main
from mammoscope.model.artifact.folder import load_artifact
from mammoscope.service.drift import ALARMING, LEAST, WINDOW, Drift, deciles, stability_index

NUMBERS = st.floats(-1e6, 1e6)


def drawn(seed: int, count: int = WINDOW, shift: float = 0.0) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).normal(shift, 1.0, count)]


REFERENCE = deciles(drawn(0, 5000))


def test_the_same_population_does_not_alarm() -> None:
    indices = [stability_index(drawn(seed), REFERENCE) for seed in range(1, 101)]
    assert np.quantile(indices, 0.95) == pytest.approx(16.9 / WINDOW, rel=0.35)
    assert max(indices) < ALARMING / 2


@pytest.mark.parametrize("shift", [-1.0, 1.0])
def test_another_population_alarms(shift: float) -> None:
    assert stability_index(drawn(1, shift=shift), REFERENCE) > ALARMING


@given(values=st.lists(NUMBERS, min_size=1), reference=st.lists(NUMBERS, min_size=1))
@settings(max_examples=50, deadline=None)
def test_the_index_is_always_a_finite_number(values: list[float], reference: list[float]) -> None:
    index = stability_index(values, deciles(reference))
    assert np.isfinite(index)
    assert index >= 0.0


def test_only_the_last_images_count_if_there_are_enough() -> None:
    drift = Drift({"logit": REFERENCE})
    for value in drawn(1, LEAST - 1):
        drift.add({"logit": value, "something else": 1.0})
    assert drift.indices() == {}
    drift.add({"logit": 0.0})
    assert drift.indices()["logit"] < ALARMING
    for value in drawn(2, WINDOW, shift=2.0):
        drift.add({"logit": value})
    assert drift.indices() == {"logit": stability_index(drawn(2, WINDOW, shift=2.0), REFERENCE)}


def test_the_command_adds_deciles_to_the_card(
    phantom_dataset: Path, artifact_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(artifact_folder, model)
    command = ["dev", "distributions", "--data", str(phantom_dataset), "--model", str(model)]
    assert main([*command, "--sample", "8"]) == 0
    assert "Deciles over 8 images; 0 refused" in capsys.readouterr().out
    card = load_artifact(model).card
    assert card is not None
    assert set(card.distributions) == {"logit", "breast_share", "brightness", "contrast"}
    for values in card.distributions.values():
        assert list(values) == sorted(values)
    before = json.loads((artifact_folder / "card.json").read_text())
    after = json.loads((model / "card.json").read_text())
    assert {**after, "distributions": {}} == {**before, "distributions": {}}
