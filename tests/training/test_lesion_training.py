"""Training on films with outlined lesions, and then on a data set, by fold."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from mammoscope.__main__ import main
from mammoscope.model.cells import FIRST_CENTRE_PX, STRIDE_PX, UNKNOWN
from mammoscope.settings.training import TrainConfig

pytestmark = pytest.mark.training

PLAN = """
[base.films]
preset = "smoke"
data = "lesions"
layout = "lesions"
head = "lesions"
channels = "three"
augmentation = "flips"
head_epochs = 0
epochs = 1
trainable_from = "none"
learning_rate = 1e-3
head_rate = 20.0

[base.images]
preset = "smoke"
head = "lesions"
channels = "three"
augmentation = "flips"
lesion_share = 0.25
head_epochs = 0
epochs = 1
trainable_from = "none"
weights = "run:maps"

[[run]]
name = "maps"
base = "films"

[[run]]
name = "folds-lesions"
base = "images"
folds = 1
"""


def test_runs_of_folds_start_from_lesion_maps(
    films, phantom_dataset, tmp_path, capsys, small_network
):
    (tmp_path / "plan.toml").write_text(PLAN)
    table = tmp_path / "folds.csv"
    assert main(["dev", "folds", "--data", str(phantom_dataset), "--output", str(table)]) == 0
    arguments = [
        "dev", "trainings", str(tmp_path / "plan.toml"), "--data", str(phantom_dataset),
        "--data", f"lesions={films}", "--runs", str(tmp_path / "runs"),
        "--records", str(tmp_path / "records"), "--folds", str(table),
    ]  # fmt: skip
    assert main(arguments) == 0
    maps = json.loads((tmp_path / "records" / "maps" / "metrics.json").read_text())
    assert maps["validation"]["images"] == 8
    record = tmp_path / "records" / "folds-lesions" / "fold-1"
    with table.open() as stream:
        left_out = {row["patient"] for row in csv.DictReader(stream) if row["fold"] == "1"}
    with (record / "split.csv").open() as stream:
        parts = {row["patient"]: row["part"] for row in csv.DictReader(stream)}
    assert {patient for patient, part in parts.items() if part == "validation"} == left_out
    with (record / "validation_scores.csv").open() as stream:
        assert {row["patient"] for row in csv.DictReader(stream)} == left_out
    capsys.readouterr()
    assert main([*arguments, "--list"]) == 0
    assert capsys.readouterr().out.count("finished") == 2
    network, cache = tmp_path / "runs" / "maps" / "model.keras", tmp_path / "runs" / "cache"
    assert (
        main(["dev", "pointing", str(network), "--lesions", str(films), "--cache", str(cache)]) == 0
    )
    assert capsys.readouterr().out.startswith("4 films with a malignant lesion")


def preprocessed(films: Path, tmp_path: Path):
    from mammoscope.data.lesions import read_films
    from mammoscope.training.lesions import preprocess_films

    config = TrainConfig.from_preset("default", {"input_size": (512, 288)})
    listed = read_films(films, "train")
    made = preprocess_films(listed, config, tmp_path)
    again = preprocess_films(listed, config, tmp_path)
    assert np.array_equal(made.pixels, again.pixels)
    assert all(np.array_equal(*both) for both in zip(made.boxes, again.boxes, strict=True))
    return made


def test_batches_have_their_share_of_films_and_flip_boxes(films, tmp_path):
    from mammoscope.training.batches import TEACHERS
    from mammoscope.training.lesions import LesionBatches, flipped_film

    some = preprocessed(films, tmp_path)
    config = TrainConfig.from_preset(
        "default",
        {"head": "lesions", "lesion_share": 0.25, "batch_size": 8, "input_size": (512, 288)},
    )
    batches = LesionBatches(some, some, config, (14, 7))
    assert len(batches) == 3  # 16 images, 6 per batch
    batches.begin_epoch(3)
    pixels, targets, weights = batches[0]
    assert pixels.shape == (8, 512, 288, 1)
    assert weights["logit"].tolist() == [1] * 6 + [0] * 2
    assert weights["cells"].tolist() == [0] * 6 + [1] * 2
    assert (targets["cells"][6:] == 1).any(axis=(1, 2, 3)).all()
    again = LesionBatches(some, some, config, (14, 7))
    again.begin_epoch(3)
    assert np.array_equal(again[0][0], pixels)
    answers = np.linspace(0, 1, 16, dtype=np.float32)
    taught = LesionBatches(some, some, config, (14, 7), answers)
    taught.begin_epoch(3)
    _, with_teachers, their_weights = taught[0]
    assert with_teachers["logit"].tolist() == targets["logit"].tolist()
    assert set(with_teachers[TEACHERS][:6, 0]) <= set(answers)
    assert their_weights[TEACHERS].tolist() == weights["logit"].tolist()
    asked = np.concatenate([taught[i][1][TEACHERS][:-2, 0] for i in range(3)])
    assert sorted(asked) == sorted(answers)
    films_alone = LesionBatches(None, some, config, (14, 7))
    seen = np.concatenate([films_alone[i][0] for i in range(len(films_alone))])
    assert len(seen) == 16
    draws = [np.random.default_rng(seed) for seed in range(8)]
    turned = [flipped_film(some.pixels[0], some.boxes[0], rng) for rng in draws]
    for pixels, boxes in turned:
        _, x0, y0, x1, y1 = boxes[0] * [1, 288, 512, 288, 512]
        upright = some.boxes[0][0] * [1, 288, 512, 288, 512]
        part = pixels[round(y0) : round(y1), round(x0) : round(x1)]
        whole = some.pixels[0][
            round(upright[2]) : round(upright[4]), round(upright[1]) : round(upright[3])
        ]
        assert np.array_equal(part, whole) or np.abs(part[::-1].mean() - whole.mean()) < 1
    assert 0 < sum(np.array_equal(pixels, some.pixels[0]) for pixels, _ in turned) < 8


def test_cell_positions_match_the_network():
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    backbone = keras.applications.InceptionV3(
        include_top=False, weights=None, input_shape=(416, 96, 3)
    )
    pixels = tf.Variable(np.random.default_rng(0).normal(size=(1, 416, 96, 3)).astype("float32"))
    with tf.GradientTape() as tape:
        answer = backbone(pixels)
        cell = tf.reduce_sum(answer[:, 5, 0])
    rows = np.abs(tape.gradient(cell, pixels).numpy()).sum(axis=(0, 2, 3))
    centre = (rows * (np.arange(416) + 0.5)).sum() / rows.sum()
    assert answer.shape[1] == 11
    assert centre == pytest.approx(FIRST_CENTRE_PX + 5 * STRIDE_PX, abs=STRIDE_PX / 4)


def test_the_logit_is_the_mean_of_the_highest_cells_and_unknown_cells_have_no_loss():
    from mammoscope.model.networks import build_network
    from mammoscope.training.lesions import CellCrossEntropy

    config = TrainConfig.from_preset("default", {"head": "lesions", "input_size": (192, 160)})
    network = build_network(config)
    network.get_layer("cells").set_weights(
        [np.random.default_rng(0).normal(size=(1, 1, 2048, 2)), np.zeros(2)]
    )
    pixels = np.random.default_rng(1).integers(0, 256, (2, 192, 160, 1)).astype(np.uint8)
    answer = network.predict_on_batch(pixels)
    cells = answer["logit_map"].reshape(2, -1)
    expected = np.sort(cells, axis=1)[:, -6:].mean(axis=1)
    assert answer["logit"][:, 0] == pytest.approx(expected, abs=1e-4)
    logits = np.array([2.0, -1.0, 5.0], np.float32).reshape(1, 3, 1, 1)
    targets = np.array([1.0, 0.0, UNKNOWN], np.float32).reshape(1, 3, 1, 1)
    loss = float(CellCrossEntropy()(targets, logits))
    assert loss == pytest.approx((np.log1p(np.exp(-2.0)) + np.log1p(np.exp(-1.0))) / 2)


def test_the_head_has_a_multiple_of_the_learning_rate():
    import keras

    from mammoscope.training.rates import HeadRate

    first, second = (keras.layers.Dense(1, kernel_initializer="ones") for _ in range(2))
    network = keras.Sequential([keras.Input((1,)), first, second])
    optimizer = HeadRate(20.0, learning_rate=1e-3, weight_decay=0.0)
    network.compile(optimizer, "mse")
    optimizer.build(network.trainable_variables)
    optimizer.spare(first.trainable_variables)
    network.train_on_batch(np.ones((4, 1)), np.zeros((4, 1)))
    moved = [1.0 - float(layer.get_weights()[0][0, 0]) for layer in (first, second)]
    assert moved == pytest.approx([1e-3, 20e-3], rel=1e-3)


def test_only_a_map_that_points_at_its_lesion_is_a_hit():
    from mammoscope.training.lesions import PreprocessedFilms
    from mammoscope.training.pointing import measure_pointing

    pixels = np.full((2, 512, 288), 9, np.uint8)
    centre = (FIRST_CENTRE_PX + STRIDE_PX * 3) / 512, (FIRST_CENTRE_PX + STRIDE_PX * 2) / 288
    malignant = [0, centre[1] - 0.02, centre[0] - 0.02, centre[1] + 0.02, centre[0] + 0.02]
    boxes = (np.array([malignant], np.float32), np.array([[1, *malignant[1:]]], np.float32))
    films = PreprocessedFilms((), pixels, (), {}, boxes)
    maps = np.zeros((2, 14, 7), np.float32)
    maps[0, 3, 2] = 1.0
    found = measure_pointing(maps, films)
    assert (found.films, found.hits, found.near, found.cell_auc) == (1, 1.0, 1.0, 1.0)
    assert found.by_chance == pytest.approx(1 / 98)
    maps[0, 3, 2], maps[0, 8, 2] = 0.0, 1.0
    found = measure_pointing(maps, films)
    assert (found.hits, found.near) == (0.0, 0.0)
    assert found.cell_auc < 0.5
