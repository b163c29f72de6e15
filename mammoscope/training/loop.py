"""The loop: stages, steps, the moving average of weights, and checkpoints to go on from.

Written against Keras 3 alone, so that it runs on TensorFlow, JAX and PyTorch.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from mammoscope.errors import RunError, StorageError
from mammoscope.networks import choose_trainable
from mammoscope.settings import TrainConfig
from mammoscope.training.batches import Batches, Pixels, PreparedExamples
from mammoscope.training.schedules import learning_rate_share
from mammoscope.training.targets import AUXILIARY_WEIGHT
from mammoscope.training.validation import measure

History = list[dict[str, Any]]

_GRADIENT_NORM: Final = 1.0
_PREDICTION_BATCH: Final = 32
_TRAIN_METRICS: Final = {"loss": "cross_entropy", "accuracy": "accuracy", "auc": "auc"}
"""What the history calls a measure of the training pictures: what Keras calls it."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """Epochs with one set of learning layers and one optimizer."""

    name: str
    first_epoch: int
    epochs: int
    trainable_from: str
    peak_learning_rate: float


def _stages(config: TrainConfig) -> list[_Stage]:
    # A head that starts from a regression was fitted before the loop begins.
    head_epochs = 0 if config.starts_from_regression else config.head_epochs
    head = _Stage("head", 0, head_epochs, "none", config.head_learning_rate)
    tune = _Stage("tune", head_epochs, config.epochs, config.trainable_from, config.learning_rate)
    return [stage for stage in (head, tune) if stage.epochs]


@dataclass(slots=True)
class Loop:
    """Trains a network epoch by epoch; can be stopped at any moment and continued.

    Parameters
    ----------
    network
        As `mammoscope.networks.build_network` made it, weights loaded.
    config
        Stages, schedule, optimizer and moving average.
    batches
        What it learns from.
    validation
        Of other patients; measured after every epoch, learned from never.
    losses
        Loss by name of each auxiliary output.
    checkpoint
        File that holds all state after the last whole epoch.
    """

    network: keras.Model
    config: TrainConfig
    batches: Batches
    validation: PreparedExamples
    losses: dict[str, str]
    checkpoint: Path
    history: History = field(default_factory=list)
    _averages: list[Any] = field(default_factory=list)
    _learner: Any = None

    def run(self, after_epoch: Callable[[History], None]) -> History:
        """Train what is left to train; `after_epoch` is called with the history so far.

        Raises
        ------
        RunError
            If the checkpoint does not fit the network, or the loss stops being a number.
        StorageError
            If a checkpoint cannot be written.
        """
        stored = self._read_checkpoint()
        total = sum(stage.epochs for stage in _stages(self.config)) * len(self.batches)
        done = len(self.history) * len(self.batches)
        with tqdm(total=total, initial=done, unit="batch", disable=None) as bar:
            for stage in _stages(self.config):
                if len(self.history) >= stage.first_epoch + stage.epochs:
                    continue
                self._begin(stage)
                if stored is not None:
                    self._restore(stored)
                    stored = None
                while len(self.history) < stage.first_epoch + stage.epochs:
                    self.history.append(self._epoch(stage, bar))
                    self._write_checkpoint()
                    after_epoch(self.history)
        if stored is not None:  # all epochs were done already
            self._begin(_stages(self.config)[-1])
            self._restore(stored)
        self._swap_averages()
        return self.history

    def predict(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Logits of prepared pictures, uint8 (N, H, W) to float32 (N,)."""
        parts = [
            keras.ops.convert_to_numpy(
                self.network.predict_on_batch(pixels[i : i + _PREDICTION_BATCH, ..., None])["logit"]
            )[:, 0]
            for i in range(0, len(pixels), _PREDICTION_BATCH)
        ]
        return np.concatenate(parts).astype(np.float32)

    def _begin(self, stage: _Stage) -> None:
        choose_trainable(self.network, self.config, stage.trainable_from)
        outputs = {name: self.network.output[name] for name in ("logit", *self.losses)}
        self._learner = keras.Model(self.network.input, outputs)
        optimizer = keras.optimizers.AdamW(
            learning_rate=stage.peak_learning_rate,
            weight_decay=self.config.weight_decay,
            global_clipnorm=_GRADIENT_NORM,
        )
        optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
        self._learner.compile(
            optimizer=optimizer,
            loss={
                "logit": keras.losses.BinaryCrossentropy(
                    from_logits=True, label_smoothing=self.config.label_smoothing
                ),
                **{name: _loss(kind) for name, kind in self.losses.items()},
            },
            loss_weights={"logit": 1.0, **dict.fromkeys(self.losses, AUXILIARY_WEIGHT)},
            weighted_metrics={
                "logit": [
                    keras.metrics.BinaryCrossentropy(from_logits=True, name="cross_entropy"),
                    keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy"),
                    keras.metrics.AUC(from_logits=True, name="auc"),
                ]
            },
        )
        optimizer.build(self._learner.trainable_variables)
        if self.config.ema_momentum:
            self._averages = [keras.ops.copy(v.value) for v in self._learner.trainable_variables]

    def _epoch(self, stage: _Stage, bar: Any) -> dict[str, Any]:
        began = monotonic()
        number = len(self.history)
        self.batches.begin_epoch(number)
        logs = self._learner.fit(
            self.batches,
            shuffle=False,  # the batches are shuffled by their own seed
            verbose=0,
            callbacks=[_Steps(self, stage, bar)],
        ).history
        trained = monotonic()
        validation = self._validate()
        return {
            "epoch": number + 1,
            "stage": stage.name,
            "learning_rate": float(self._learner.optimizer.learning_rate),
            "train": {
                # Keras prefixes the output's name where there are several.
                name: float(logs.get(f"logit_{metric}", logs.get(metric))[-1])
                for name, metric in _TRAIN_METRICS.items()
            },
            "validation": validation,
            "seconds": {
                "train": round(trained - began, 3),
                "validation": round(monotonic() - trained, 3),
            },
        }

    def set_learning_rate(self, stage: _Stage, step: int) -> None:
        """Set the rate for a step of the current epoch."""
        steps = len(self.batches)
        done = (len(self.history) - stage.first_epoch) * steps + step
        self._learner.optimizer.learning_rate = stage.peak_learning_rate * learning_rate_share(
            self.config.schedule if stage.name == "tune" else "constant",
            done / (stage.epochs * steps),
            self.config.warmup_fraction,
            [entry["validation"]["loss"] for entry in self.history[stage.first_epoch :]],
        )

    def _validate(self) -> dict[str, float]:
        self._swap_averages()
        logits = self.predict(self.validation.pixels)
        self._swap_averages()
        return measure(self.validation, logits)

    def update_averages(self) -> None:
        """Let the moving average follow the weights by one step."""
        momentum = self.config.ema_momentum
        if momentum:
            self._averages = [
                average * momentum + variable.value * (1.0 - momentum)
                for average, variable in zip(
                    self._averages, self._learner.trainable_variables, strict=True
                )
            ]

    def _swap_averages(self) -> None:
        """Exchange the weights and their moving average; nothing where there is none."""
        if not self.config.ema_momentum:
            return
        current = [keras.ops.copy(v.value) for v in self._learner.trainable_variables]
        for variable, average in zip(
            self._learner.trainable_variables, self._averages, strict=True
        ):
            variable.assign(average)
        self._averages = current

    def _state(self) -> list[Any]:
        return [*self._learner.variables, *self._learner.optimizer.variables]

    def _write_checkpoint(self) -> None:
        arrays = {
            **{f"v{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(self._state())},
            **{f"a{i}": keras.ops.convert_to_numpy(a) for i, a in enumerate(self._averages)},
        }
        partial = self.checkpoint.with_suffix(".partial.npz")
        try:
            np.savez(partial, history=np.array(json.dumps(self.history)), **arrays)
            partial.replace(self.checkpoint)
        except OSError as err:
            partial.unlink(missing_ok=True)
            raise StorageError(
                f"The checkpoint of epoch {len(self.history)} cannot be stored; the one before is "
                "untouched."
            ) from err

    def _read_checkpoint(self) -> dict[str, Any] | None:
        if not self.checkpoint.is_file():
            return None
        with np.load(self.checkpoint) as stored:
            arrays = dict(stored)
        self.history = json.loads(str(arrays.pop("history")))
        # At the end of a stage the next one begins with an optimizer of its own.
        return arrays

    def _restore(self, arrays: dict[str, Any]) -> None:
        state = self._state()
        if sum(name.startswith("v") for name in arrays) != len(state):
            raise RunError("The checkpoint does not fit the network of this run.")
        for i, variable in enumerate(state):
            variable.assign(arrays[f"v{i}"])
        self._averages = [
            keras.ops.convert_to_tensor(arrays[f"a{i}"]) for i in range(len(self._averages))
        ]


def _loss(kind: str) -> keras.losses.Loss:
    if kind == "binary_crossentropy":
        return keras.losses.BinaryCrossentropy(from_logits=True)
    return keras.losses.MeanSquaredError()


class _Steps(keras.callbacks.Callback):
    """What happens around every step of a `Loop`."""

    def __init__(self, loop: Loop, stage: _Stage, bar: Any) -> None:
        super().__init__()
        self._loop = loop
        self._stage = stage
        self._bar = bar

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        del logs
        self._loop.set_learning_rate(self._stage, batch)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        del batch
        loss = (logs or {}).get("loss", float("nan"))
        if not np.isfinite(loss):
            raise RunError("The loss stopped being a number; try a lower learning rate.")
        self._loop.update_averages()
        self._bar.set_postfix(epoch=len(self._loop.history) + 1, loss=f"{loss:.3f}", refresh=False)
        self._bar.update()
