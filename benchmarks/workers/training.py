"""Images per second of successive epochs: ``--how ours`` or ``--how plain``.

Both train the same layers of the same network with the same batch size on the same phantoms.
``ours`` takes preprocessed images from the cache, augments them and runs the product's loop.
``plain`` follows the Keras tutorials: `image_dataset_from_directory`, augmentation layers,
`prefetch`, `fit`.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from benchmarks.workers.timing import report
from mammoscope.data.dataset import read_dataset
from mammoscope.model.networks import build_network, choose_trainable
from mammoscope.settings.training import TrainConfig
from mammoscope.training.batches import Batches, preprocess_examples
from mammoscope.training.loop import Loop


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--how", choices=("ours", "plain"), required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--side", type=int, required=True)
    options = parser.parse_args()
    config = TrainConfig.from_preset(
        "default",
        {
            "weights": "none",
            "input_size": (options.side, options.side),
            "epochs": options.epochs + 1,  # the first epoch traces the graph and fills caches
            "head_epochs": 0,
            "precision": options.precision,
        },
    )
    keras.config.set_dtype_policy(config.precision)
    keras.utils.set_random_seed(config.seed)
    network = build_network(config)
    measure = _ours if options.how == "ours" else _plain
    images, seconds = measure(network, config, options.data)
    report(
        ("keras", "tensorflow"),
        images=images,
        batch_size=config.batch_size,
        per_s=[images / second for second in seconds[1:]],
    )


def _ours(network: keras.Model, config: TrainConfig, data: Path) -> tuple[int, list[float]]:
    dataset = read_dataset(data)
    with tempfile.TemporaryDirectory(prefix="mammoscope-") as folder:
        cache = Path(folder)
        for _ in range(2):  # the second time they come from the cache
            learned = preprocess_examples(dataset.split("train"), config, cache, "train")
        validation = preprocess_examples(dataset.split("valid"), config, cache, "valid")
        batches = Batches(learned, config)
        loop = Loop(network, config, batches, validation, cache / "checkpoint.npz")
        history = loop.run(lambda _: None)
    return len(learned.examples), [entry["seconds"]["train"] for entry in history]


class _Clock(keras.callbacks.Callback):  # type: ignore[misc, unused-ignore]  # Keras has no types
    """Seconds of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        del epoch, logs
        self._began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        del epoch, logs
        self.seconds.append(time.monotonic() - self._began)


def _plain(network: keras.Model, config: TrainConfig, data: Path) -> tuple[int, list[float]]:
    images = keras.utils.image_dataset_from_directory(
        data / "train",
        label_mode="binary",
        color_mode="grayscale",
        image_size=config.input_size,
        batch_size=config.batch_size,
        seed=config.seed,
        verbose=False,
    )
    count = len(images.file_paths)
    augmentation = [
        keras.layers.RandomFlip("vertical"),
        keras.layers.RandomRotation(20 / 360, fill_mode="constant"),
        keras.layers.RandomZoom(0.2, 0.2, fill_mode="constant"),
        keras.layers.RandomTranslation(0.08, 0.08, fill_mode="constant"),
        keras.layers.RandomContrast(0.2),
    ]

    def augmented(batch: Any, labels: Any) -> tuple[Any, Any]:
        for layer in augmentation:
            batch = layer(batch, training=True)
        return tf.cast(tf.clip_by_value(batch, 0, 255), tf.uint8), labels

    batches = images.map(augmented, num_parallel_calls=tf.data.AUTOTUNE)
    choose_trainable(network, config, config.trainable_from)
    model = keras.Model(network.input, network.output["logit"])
    model.compile(
        optimizer=keras.optimizers.Adam(config.learning_rate),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],
    )
    clock = _Clock()
    model.fit(
        batches.prefetch(tf.data.AUTOTUNE), epochs=config.epochs, verbose=0, callbacks=[clock]
    )
    return count, clock.seconds


if __name__ == "__main__":
    main()
