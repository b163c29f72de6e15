"""Changes of scores, measured with transparent networks."""

import json
import math
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from mammoscope.__main__ import main
from mammoscope.data.dataset import read_dataset
from mammoscope.errors import EmptyDatasetError
from mammoscope.evaluation.evaluate import RefusedExample
from mammoscope.evaluation.robustness import CHANGES, Spread, Trial, summarise, try_examples
from mammoscope.model.artifact.card import Card
from mammoscope.model.calibration import Calibration
from mammoscope.model.engine import Scores
from tests.fake_engine import NetworkStub

CARD = Card(
    version="1.2.3",
    sha256="0" * 64,
    input_size=(96, 64),
    calibration=Calibration(slope=2.0, intercept=0.5),
)


class CellEngine(NetworkStub):
    """Each cell scores its brightness above the middle; the logit is their maximum."""

    card = CARD
    honest = True
    """Whether the map shows the true contributions to the logit."""

    def infer(self, pixels, /):
        cells = pixels.reshape(len(pixels), 12, 8, 8, 8).mean(axis=(2, 4)) / 64.0 - 2.0
        logits = np.log(np.exp(4 * cells).mean(axis=(1, 2))) / 4
        maps = cells if self.honest else -cells
        return Scores(logits.astype(np.float32), maps.astype(np.float32))


class ConstantEngine(CellEngine):
    def infer(self, pixels, /):
        return Scores(np.zeros(len(pixels), np.float32), np.zeros((len(pixels), 3, 2), np.float32))


@pytest.fixture(scope="module")
def examples(phantom_dataset):
    return read_dataset(phantom_dataset).examples[:10]


@pytest.fixture(scope="module")
def trials(examples):
    return list(try_examples(examples, CellEngine()))


def test_every_change_is_measured_on_every_image(trials, examples):
    assert [trial.example for trial in trials] == list(examples)
    for trial in trials:
        assert set(trial.changes) == set(CHANGES)
        assert all(0 <= size <= 1 for size in trial.changes.values() if size is not None)


def test_changes_that_preprocessing_undoes_have_no_effect(trials):
    found = summarise(trials)
    for name in ("inversion", "mirroring", "16-bit copy", "padding by 5%, black"):
        spread = found.changes[name]
        assert spread.refused == 0
        assert spread.count == len(trials)
        assert spread.high < 0.02
    assert found.changes["anisotropic stretch"].high > found.changes["16-bit copy"].high


def test_the_hottest_cells_of_a_true_map_change_the_score_most(trials):
    found = summarise(trials)
    assert found.larger.value > 0.97
    assert found.lower.value > 0.97
    assert found.hottest.median > 3 * found.random.median


@pytest.fixture
def erasing_alone(monkeypatch):
    """Do not measure the changes of images, which cost most of the time."""
    monkeypatch.setattr("mammoscope.evaluation.robustness.CHANGES", {})


def test_a_false_map_is_detected(examples, erasing_alone):
    engine = CellEngine()
    engine.honest = False
    found = summarise(list(try_examples(examples, engine)))
    assert found.larger.value < 0.5
    assert found.lower.value < 0.5


def test_a_random_map_wins_half_of_the_comparisons(examples, erasing_alone):
    class BlindEngine(CellEngine):
        """Its map is unrelated to the score, and random in each call."""

        def __init__(self) -> None:
            super().__init__()
            self._seeds = count()

        def infer(self, pixels, /):
            scores = super().infer(pixels)
            rng = np.random.default_rng(next(self._seeds))
            noise = rng.normal(size=scores.logit_maps.shape).astype(np.float32)
            return Scores(scores.logits, noise)

    engine = BlindEngine()
    found = summarise([t for seed in range(12) for t in try_examples(examples, engine, seed=seed)])
    assert 0.4 < found.larger.value < 0.6
    assert 0.4 < found.lower.value < 0.6


def test_a_constant_network_is_measured(examples):
    found = summarise(list(try_examples(examples[:3], ConstantEngine())))
    assert {spread.high for spread in found.changes.values()} == {0.0}
    assert found.hottest.high == found.random.high == 0.0
    assert found.larger.value == found.lower.value == 0.5


def test_random_draws_depend_only_on_seed_and_image(trials, examples):
    again = list(try_examples(examples[3:5], CellEngine()))
    assert [each.changes for each in again] == [each.changes for each in trials[3:5]]
    assert [each.random for each in again] == [each.random for each in trials[3:5]]
    (other,) = try_examples(examples[3:4], CellEngine(), seed=1)
    assert other.changes["anisotropic stretch"] != trials[3].changes["anisotropic stretch"]
    assert other.changes["inversion"] == trials[3].changes["inversion"]


def test_refusals_are_counted(examples, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    (refused,) = try_examples([replace(examples[0], path=broken)], CellEngine())
    assert isinstance(refused, RefusedExample)
    assert refused.code == "empty_image"
    with pytest.raises(EmptyDatasetError):
        summarise([refused])
    changes = dict.fromkeys(CHANGES, 0.1) | {"mirroring": None}
    found = summarise([refused, Trial(examples[0], changes, -0.5, (0.2, -0.6, 0.5, -0.1))])
    assert (found.images, found.refused) == (1, 1)
    assert found.larger.value == (1 + 0 + 0.5 + 1) / 4
    assert found.lower.value == (1 + 0 + 1 + 1) / 4
    assert found.changes["mirroring"] == Spread(pytest.approx(math.nan, nan_ok=True), pytest.approx(
        math.nan, nan_ok=True), 0, 1)  # fmt: skip
    assert found.to_json()["probability_change"]["mirroring"] == {
        "median": None, "percentile_95": None, "pictures": 0, "refused": 1
    }  # fmt: skip


class TestCommand:
    @pytest.fixture(autouse=True)
    def engine(self, monkeypatch):
        monkeypatch.setattr("mammoscope.cli.robustness.load_artifact", lambda path: path)
        monkeypatch.setattr("mammoscope.model.engine.load_engine", lambda artifact: CellEngine())

    def test_table_and_json(self, phantom_dataset, tmp_path, capsys):
        table = tmp_path / "robustness.json"
        arguments = ["--data", str(phantom_dataset), "--split", "train", "--sample", "4"]
        assert main(["dev", "robustness", *arguments, "--json", str(table)]) == 0
        printed = capsys.readouterr().out
        assert "Split train: 4 images measured, 0 refused; model 1.2.3; seed 0" in printed
        for name in CHANGES:
            assert f"\n  {name} " in printed
        found = json.loads(table.read_text())
        assert found["split"] == "train"
        assert found["seed"] == 0
        assert set(found["probability_change"]) == set(CHANGES)
        assert found["erasing"]["hottest_above_random"]["value"] > 0.9
        assert main(["dev", "robustness", *arguments, "--json", str(table)]) == 0
        assert json.loads(table.read_text()) == found

    def test_unusable_input_is_refused(self, tmp_path, phantom_dataset, capsys):
        data = str(phantom_dataset)
        assert main(["dev", "robustness", "--data", str(tmp_path / "missing")]) == 1
        assert (
            main(["dev", "robustness", "--data", data, "--json", str(tmp_path / "no" / "x")]) == 1
        )
        errors = capsys.readouterr().err.splitlines()
        assert errors[0] == f"mammoscope: {tmp_path / 'missing'}: The folder does not exist."
        assert errors[1] == "mammoscope: The folder of the output file does not exist."
        with pytest.raises(SystemExit, match="2"):
            main(["dev", "robustness", "--data", data, "--sample", "0"])
