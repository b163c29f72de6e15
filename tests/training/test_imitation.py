"""A network that learns to give its own outputs for copies of an image."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from mammoscope.model.artifact.folder import load_artifact
from mammoscope.settings.training import TrainConfig
from mammoscope.training.augmentation import copy, flip
from mammoscope.training.batches import (
    CLEAN,
    PIXELS,
    Batches,
    PreprocessedExamples,
    preprocess_examples,
)
from mammoscope.training.division import divide, read_examples
from mammoscope.training.run_folder import RunPaths
from mammoscope.training.training_run import train

pytestmark = pytest.mark.training


@pytest.fixture
def earlier(small_run: Path, tmp_path: Path) -> Path:
    """The network of `small_run`, with scores that differ more."""
    network = keras.saving.load_model(small_run / "model.keras", compile=False)
    head = network.get_layer("score")
    head.set_weights([100 * head.get_weights()[0], *head.get_weights()[1:]])
    network.save(tmp_path / "earlier.keras")
    return tmp_path / "earlier.keras"


@pytest.fixture
def config(small_run: Path, earlier: Path) -> TrainConfig:
    """The configuration of a run that imitates `earlier`."""
    made = TrainConfig.from_record((small_run / "config.json").read_bytes())
    return TrainConfig.model_validate(
        {
            **made.model_dump(),
            "weights": str(earlier),
            "imitation": True,
            "augmentation": "copies",
            "drop_rate": 0.0,
            "head_epochs": 0,
            "epochs": 1,
            "learning_rate": 1e-12,  # the loss of an epoch is then that of the first weights
            "ema_momentum": 0.0,
            "batch_size": 4,
            "trainable_from": "all",
            "weight_decay": 0.0,
            "label_smoothing": 0.0,
        }
    )


@pytest.fixture
def examples(config: TrainConfig, phantom_dataset: Path, tmp_path: Path) -> PreprocessedExamples:
    """The images that the run trains on."""
    divided = divide(read_examples(config, phantom_dataset), config)
    return preprocess_examples(divided.split.train, config, tmp_path, "preprocess")


def test_copies_are_flipped_as_the_image_is(config: TrainConfig, examples: PreprocessedExamples):
    batches = Batches(examples, config)
    pixels, targets = batches[0]
    assert isinstance(pixels, dict)
    assert pixels[PIXELS].shape == pixels[CLEAN].shape
    for place, number in enumerate(batches._order[: len(targets["logit"])]):
        image = examples.pixels[number]
        state = (config.seed, 0, int(number))
        for name, change in ((CLEAN, flip), (PIXELS, copy)):
            expected = change(image, np.random.default_rng(state))
            assert np.array_equal(pixels[name][place, ..., 0], expected)


@pytest.mark.usefixtures("small_network")
def test_the_loss_is_the_distance_from_the_outputs_for_the_images(
    config: TrainConfig,
    examples: PreprocessedExamples,
    earlier: Path,
    phantom_dataset: Path,
    tmp_path: Path,
):
    paths = RunPaths(phantom_dataset, tmp_path / "run", tmp_path / "cache")
    train(config, paths, lambda _: None)
    network = keras.saving.load_model(earlier, compile=False)
    batches = Batches(examples, config)
    losses = []
    for pixels, _ in (batches[index] for index in range(len(batches))):
        of_copies, of_images = (network.predict_on_batch(pixels[name]) for name in (PIXELS, CLEAN))
        losses += [
            sum(
                weight * np.mean((of_copies[key][i] - of_images[key][i]) ** 2)
                for key, weight in (("logit", 1.0), ("logit_map", 0.1))
            )
            for i in range(len(of_images["logit"]))
        ]
    (epoch,) = json.loads((paths.output / "history.json").read_text())
    assert np.mean(losses) > 0.01
    assert epoch["train"]["loss"] == pytest.approx(np.mean(losses), rel=1e-3)
    card = load_artifact(paths.output).require_card()
    assert card.quantisation is None
