"""Evaluation of labelled folders, with a transparent network."""

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mammoscope.data.dataset import Dataset, Example, Facts, read_dataset
from mammoscope.data.scanner_groups import Appearance
from mammoscope.errors import EmptyDatasetError, SingleClassError
from mammoscope.evaluation.evaluate import (
    RefusedExample,
    ScoredExample,
    assess,
    describe_examples,
    map_ahead,
    score_examples,
    with_shortcuts,
)
from mammoscope.imaging.mammogram import Laterality
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.reading import read_file
from mammoscope.model.artifact.card import Card, CardOperatingPoint
from mammoscope.model.calibration import AgeCalibration, Calibration
from mammoscope.model.engine import Scores
from tests.fake_engine import NetworkStub

CARD = Card(
    version="1.2.3",
    sha256="0" * 64,
    input_size=(96, 64),
    calibration=Calibration(slope=2.0, intercept=-1.0),
    operating_points={
        "default": CardOperatingPoint(threshold=0.5),
        "high_sensitivity": CardOperatingPoint(threshold=0.2),
    },
)


class BrightnessEngine(NetworkStub):
    """Scores an image by its mean brightness."""

    card = CARD

    def infer(self, pixels, /):
        assert pixels.dtype == np.uint8
        assert pixels.shape[1:] == CARD.input_size
        logits = pixels.mean(axis=(1, 2)).astype(np.float32) / 32 - 2
        return Scores(logits, logits[:, None, None])


def outcome(label, logit, patient="p", features=None, **facts):
    known = facts.pop("patient_known", True)
    split = facts.pop("split", "test")
    chest_wall = facts.pop("chest_wall", "left")
    example = Example(Path(f"{patient}.png"), label, split, patient, "i", known, Facts(**facts))
    features = np.zeros(24, np.float32) if features is None else features
    return ScoredExample(example, logit, inverted=False, chest_wall=chest_wall, features=features)


def measure(outcomes, others=(), split="test", card=CARD):
    examples = tuple(each.example for each in (*outcomes, *others))
    dataset = Dataset(root=None, examples=examples, has_metadata=True)
    return assess(dataset, split, outcomes, card, resamples=50)


class TestScoring:
    def test_images_use_the_common_reader_and_preprocessing(self, phantom_dataset):
        examples = read_dataset(phantom_dataset).examples
        found = list(score_examples(examples, BrightnessEngine()))
        assert [each.example for each in found] == list(examples)
        for each in found[:3]:
            preprocessed = preprocess(read_file(each.example.path), CARD.input_size)
            expected = BrightnessEngine().infer(preprocessed.pixels[None]).logits[0]
            assert each.logit == expected
            assert each.chest_wall == preprocessed.chest_wall
            assert each.inverted == preprocessed.inverted

    def test_scanner_features_do_not_depend_on_prediction(self, phantom_dataset):
        examples = read_dataset(phantom_dataset).examples[:6]
        for scored, seen in zip(
            score_examples(examples, BrightnessEngine()), describe_examples(examples), strict=True
        ):
            assert scored.example == seen.example
            assert scored.features.shape == (24,)
            assert np.array_equal(scored.features, seen.features)
            assert scored.features[:16].sum() == pytest.approx(1.0)

    def test_an_unreadable_image_is_an_outcome(self, tmp_path):
        (tmp_path / "a.png").write_text("not an image")
        examples = [
            Example(tmp_path / name, 0, "", name, name, patient_known=False)
            for name in ("a.png", "missing.png")
        ]
        found = list(score_examples(examples, BrightnessEngine()))
        assert [type(each) for each in found] == [RefusedExample] * 2
        assert [each.code for each in found] == ["unsupported_image", "unreadable_file"]
        assert str(tmp_path) not in found[1].message


class TestAssessment:
    def test_breasts_are_grouped_by_laterality_or_chest_wall(self):
        outcomes = [
            outcome(1, 2.0, "a", laterality=Laterality.LEFT, chest_wall="left"),
            outcome(1, 1.0, "a", laterality=Laterality.LEFT, chest_wall="right"),
            outcome(0, 0.0, "b", chest_wall="left"),
            outcome(0, 0.0, "b", chest_wall="right"),
        ]
        found = measure(outcomes).evaluation
        assert (found.images, found.breasts, found.patients, found.positives) == (4, 3, 2, 2)

    def test_figures_use_calibrated_scores(self):
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 2, 80)
        logits = rng.normal(labels, 1.0)
        outcomes = [
            outcome(int(y), float(x), str(i))
            for i, (y, x) in enumerate(zip(labels, logits, strict=True))
        ]
        found = measure(outcomes).to_json()
        probabilities = 1 / (1 + np.exp(-(2 * logits - 1)))
        assert found["auc"]["value"] == pytest.approx(roc_auc_score(labels, logits))
        assert found["brier"]["value"] == pytest.approx(np.mean((probabilities - labels) ** 2))
        point = found["operating_points"]["high_sensitivity"]
        assert point["threshold"] == 0.2
        assert point["sensitivity"]["value"] == pytest.approx(
            np.mean(probabilities[labels == 1] >= 0.2)
        )

    def test_json_has_the_facts_needed_to_interpret_it(self):
        outcomes = [
            outcome(1, 1.0, "a"),
            outcome(0, 0.0, "b"),
            RefusedExample(outcome(0, 0.0, "c").example, "corrupt_image", "Damaged."),
        ]
        elsewhere = [outcome(0, 0.0, "a", split="train"), outcome(0, 0.0, "d", split="train")]
        found = json.loads(json.dumps(measure(outcomes, elsewhere).to_json(), allow_nan=False))
        assert found["model_version"] == "1.2.3"
        assert found["split"] == "test"
        assert found["refused"] == {"count": 1, "codes": {"corrupt_image": 1}}
        assert found["patients_known"] is True
        assert found["interval_by"] == "patient"
        assert found["shared_patients"] == 1
        assert found["within_machine"] is None

    def test_unknown_patients_are_reported(self):
        outcomes = [outcome(1, 1.0, "a", patient_known=False), outcome(0, 0.0, "b")]
        found = measure(outcomes).to_json()
        assert found["patients_known"] is False
        assert found["interval_by"] == "picture"

    def test_groups_are_made_of_known_facts(self):
        outcomes = [
            outcome(i % 2, float(i), str(i), machine_id=str(i % 3), age=age)
            for i, age in enumerate([49.9, 50.0, 59.5, 60.0, 69.9, 70.0, None, 85.0] * 12)
        ]
        groups = measure(outcomes).evaluation.groups
        assert set(groups) == {"machine", "age", "background"}
        assert {value: group.images for value, group in groups["age"].items()} == {
            "0 to 49": 12,
            "50 to 59": 24,
            "60 to 69": 24,
            "70 and over": 24,
        }
        assert all(group.auc for group in groups["machine"].values())
        assert measure(outcomes).to_json()["within_machine"]["value"] > 0

    def test_results_with_age_are_additional(self):
        rng = np.random.default_rng(1)
        ages = rng.uniform(40, 80, 200)
        labels = (rng.random(200) < 1 / (1 + np.exp(-(ages - 60) / 5))).astype(int)
        outcomes = [
            outcome(int(y), float(rng.normal()), str(i), age=age if i else None)
            for i, (y, age) in enumerate(zip(labels, ages, strict=True))
        ]
        assert measure(outcomes).to_json()["with_age"] is None  # the card does not use the age
        informed = CARD.model_copy(
            update={"age_calibration": AgeCalibration(slope=2.0, intercept=0.0, per_decade=2.0)}
        )
        found = measure(outcomes, card=informed)
        assert found.evaluation.image["auc"] == measure(outcomes).evaluation.image["auc"]
        assert found.with_age.images == 199
        log_odds = 2 * np.array([each.logit for each in outcomes[1:]]) + 2 * (ages[1:] - 60) / 10
        assert found.with_age.image["auc"].value == pytest.approx(
            roc_auc_score(labels[1:], log_odds)
        )
        assert found.with_age.image["auc"].value > found.evaluation.image["auc"].value + 0.1

    def test_images_of_unknown_machines_are_grouped_by_scanner_features(self):
        rng = np.random.default_rng(2)
        outcomes = [
            outcome(i % 2, float(i % 2), str(i), features=rng.normal(10 * (i % 3), 0.1, 24))
            for i in range(120)
        ]
        found = measure(outcomes).evaluation
        looks = found.groups["look"]
        assert sum(group.images for group in looks.values()) == 120
        assert found.within["look"].value == 1.0
        known = [outcome(i % 2, float(i % 2), str(i), machine_id=str(i % 3)) for i in range(120)]
        assert "look" not in measure(known).evaluation.groups

    def test_shortcuts_are_measured_with_the_model(self):
        """Labels depend on age, machine and scanner features of other patients only."""
        rng = np.random.default_rng(3)

        def images(split, *, follow):
            for i in range(200):
                told = i % 2 if follow else int(rng.integers(2))
                yield outcome(
                    i % 2,
                    0.0,
                    f"{split} {i}",
                    split=split,
                    features=rng.normal(told, 0.1, 24),
                    age=50.0 + 20 * told,
                    machine_id=str(told),
                )

        others = [Appearance(each.example, each.features) for each in images("train", follow=True)]
        for follow in (True, False):
            judged = list(images("test", follow=follow))
            found = with_shortcuts(measure(judged), judged, others).shortcuts
            assert set(found) == {"histogram, box and inversion", "age", "machine"}
            for area in found.values():
                assert (area.value == 1.0) if follow else (0.35 < area.value < 0.65)
                assert area.low <= area.value <= area.high

    def test_shortcuts_without_other_images_are_fitted_in_folds(self):
        judged = [
            outcome(i % 2, 0.0, str(i), features=np.full(24, float(i % 2)), age=50.0 + i % 2)
            for i in range(60)
        ]
        # A patient's other images would reveal the label; they are never used for fitting.
        own = [Appearance(each.example, 1 - each.features) for each in judged]
        found = with_shortcuts(measure(judged), judged, own).to_json()["shortcuts"]
        assert found["histogram, box and inversion"]["value"] == 1.0

    def test_no_readable_image_is_refused(self):
        refused = RefusedExample(outcome(0, 0.0).example, "corrupt_image", "Damaged.")
        with pytest.raises(EmptyDatasetError):
            measure([refused])

    def test_a_single_remaining_class_is_refused(self):
        with pytest.raises(SingleClassError):
            measure([outcome(1, 1.0, "a"), outcome(1, 1.0, "b")])


class TestMapAhead:
    def test_order_is_kept(self):
        def work(number):
            time.sleep(0.001 * (number % 3))
            return number * number

        assert list(map_ahead(work, range(40), workers=4)) == [n * n for n in range(40)]

    def test_work_runs_only_a_little_ahead(self):
        begun = []
        results = map_ahead(begun.append, range(1000), workers=2)
        next(results)
        time.sleep(0.05)
        assert len(begun) <= 5
        results.close()
        assert len(begun) <= 5

    def test_no_thread_remains_after_stopping(self):
        before = threading.active_count()
        results = map_ahead(lambda number: number, range(1000), workers=2)
        next(results)
        results.close()
        assert threading.active_count() == before

    def test_an_unexpected_error_is_raised(self):
        def work(number):
            return 1 // number

        with pytest.raises(ZeroDivisionError):
            list(map_ahead(work, [1, 0, 1], workers=2))
