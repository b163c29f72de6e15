"""The loop: stages, steps, the moving average of weights, and checkpoints to go on from.

Written against Keras 3 alone, so that it runs on TensorFlow, JAX and PyTorch.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, process_time
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from mammoscope.errors import RunError, StorageError
from mammoscope.model.networks import choose_trainable
from mammoscope.settings import TrainConfig
from mammoscope.training.batches import Batches, Pixels, PreprocessedExamples
from mammoscope.training.schedules import learning_rate_share
from mammoscope.training.targets import AUXILIARY_WEIGHT, TAUGHT
from mammoscope.training.validation import History, measure

REGRESSION: Final = "regression"
"""Stage of the history's entry for a head that was fitted before the first epoch."""

_GRADIENT_NORM: Final = 1.0
_PREDICTION_BATCH: Final = 32
_TRAIN_METRICS: Final = {"loss": "cross_entropy", "accuracy": "accuracy", "auc": "auc"}
"""What the history calls a measure of the training images: what Keras calls it."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """Epochs with one set of learning layers and one optimizer."""

    name: str
    first_epoch: int
    epochs: int
    trainable_from: str
    peak_learning_rate: float


def predict(network: keras.Model, pixels: Pixels) -> npt.NDArray[np.float32]:
    """Logits of preprocessed images, uint8 (N, H, W) to float32 (N,)."""
    parts = []
    for start in range(0, len(pixels), _PREDICTION_BATCH):
        batch = pixels[start : start + _PREDICTION_BATCH, ..., None]
        parts.append(keras.ops.convert_to_numpy(network.predict_on_batch(batch)["logit"])[:, 0])
    return np.concatenate(parts).astype(np.float32)


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
        As `mammoscope.model.networks.build_network` made it, weights loaded.
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
    validation: PreprocessedExamples
    losses: dict[str, str]
    checkpoint: Path
    history: History = field(default_factory=list)
    _averages: list[Any] = field(default_factory=list)
    _learner: Any = None
    _stage: str = ""

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
        stages = _stages(self.config)
        total = sum(stage.epochs for stage in stages) * len(self.batches)
        done = self.done * len(self.batches)
        with tqdm(total=total, initial=done, unit="batch", disable=None) as bar:
            for stage in stages:
                if self.done >= stage.first_epoch + stage.epochs and stage is not stages[-1]:
                    continue
                self._begin(stage)
                if stored is not None:
                    self._restore(stored)
                    stored = None
                while self.done < min(stage.first_epoch + stage.epochs, self._last):
                    self.history.append(self._epoch(stage, bar))
                    self._write_checkpoint()
                    after_epoch(self.history)
        self._swap_averages()
        return self.history

    @property
    def done(self) -> int:
        """Epochs done; a regression before them is an entry of the history, but no epoch."""
        return sum(entry["stage"] != REGRESSION for entry in self.history)

    @property
    def _last(self) -> float:
        """Epoch after which the run ends."""
        return math.inf if self.config.stop_after is None else self.config.stop_after

    def _begin(self, stage: _Stage) -> None:
        choose_trainable(
            self.network,
            self.config,
            stage.trainable_from,
            head_learns=stage.name == "head" or self.config.head_learns,
        )
        outputs = {name: self.network.output[name] for name in ("logit", *self.losses)}
        share = 0.0
        if self.config.teachers:
            outputs[TAUGHT] = outputs["logit"]
            share = self.config.teacher_share
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
                **({TAUGHT: _loss("binary_crossentropy")} if share else {}),
            },
            loss_weights={
                "logit": 1.0 - share,
                **dict.fromkeys(self.losses, AUXILIARY_WEIGHT),
                **({TAUGHT: share} if share else {}),
            },
            weighted_metrics={
                "logit": [
                    keras.metrics.BinaryCrossentropy(from_logits=True, name="cross_entropy"),
                    keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy"),
                    keras.metrics.AUC(from_logits=True, name="auc"),
                ]
            },
        )
        optimizer.build(self._learner.trainable_variables)
        self._stage = stage.name
        self._reset_averages()

    def _epoch(self, stage: _Stage, bar: Any) -> dict[str, Any]:
        began, worked = monotonic(), process_time()
        number = self.done
        self.batches.begin_epoch(number)
        logs = self._learner.fit(
            self.batches,
            shuffle=False,  # the batches are shuffled by their own seed
            verbose=0,
            callbacks=[_Steps(self, stage, bar)],
        ).history
        trained, worked_on = monotonic(), process_time()
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
            # What other work on the machine does not lengthen.
            "processor_seconds": {
                "train": round(worked_on - worked, 3),
                "validation": round(process_time() - worked_on, 3),
            },
        }

    def set_learning_rate(self, stage: _Stage, step: int) -> None:
        """Set the rate for a step of the current epoch."""
        steps = len(self.batches)
        done = (self.done - stage.first_epoch) * steps + step
        self._learner.optimizer.learning_rate = stage.peak_learning_rate * learning_rate_share(
            self.config.schedule if stage.name == "tune" else "constant",
            done / (stage.epochs * steps),
            self.config.warmup_fraction,
            [e["validation"]["loss"] for e in self.history if e["stage"] == stage.name],
        )

    def _validate(self) -> dict[str, float]:
        self._swap_averages()
        logits = predict(self.network, self.validation.pixels)
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
        if not self._averages:
            return
        current = [keras.ops.copy(v.value) for v in self._learner.trainable_variables]
        for variable, average in zip(
            self._learner.trainable_variables, self._averages, strict=True
        ):
            variable.assign(average)
        self._averages = current

    def _write_checkpoint(self) -> None:
        groups = {
            "weight": self._learner.variables,
            "optimizer": self._learner.optimizer.variables,
            "average": self._averages,
        }
        arrays = {
            f"{name}_{i}": keras.ops.convert_to_numpy(value)
            for name, values in groups.items()
            for i, value in enumerate(values)
        }
        partial = self.checkpoint.with_suffix(".partial.npz")
        try:
            np.savez(partial, history=np.array(json.dumps(self.history)), **arrays)
            partial.replace(self.checkpoint)
        except OSError as err:
            partial.unlink(missing_ok=True)
            raise StorageError(
                f"The checkpoint of epoch {self.done} cannot be stored; the one before is "
                "untouched."
            ) from err

    def _read_checkpoint(self) -> dict[str, Any] | None:
        if not self.checkpoint.is_file():
            return None
        with np.load(self.checkpoint) as stored:
            arrays = dict(stored)
        self.history = json.loads(str(arrays.pop("history")))
        return arrays

    def _restore(self, arrays: dict[str, Any]) -> None:
        """Take over a checkpoint's state; at the begin of a stage its weights alone."""
        self._assign("weight", self._learner.variables, arrays)
        if self.history[-1]["stage"] != self._stage:
            self._reset_averages()
            return
        self._assign("optimizer", self._learner.optimizer.variables, arrays)
        self._averages = [
            keras.ops.convert_to_tensor(arrays[f"average_{i}"]) for i in range(len(self._averages))
        ]

    @staticmethod
    def _assign(group: str, variables: list[Any], arrays: dict[str, Any]) -> None:
        if sum(name.startswith(f"{group}_") for name in arrays) != len(variables):
            raise RunError("The checkpoint does not fit the network of this run.")
        for i, variable in enumerate(variables):
            variable.assign(arrays[f"{group}_{i}"])

    def _reset_averages(self) -> None:
        if self.config.ema_momentum:
            variables = self._learner.trainable_variables
            self._averages = [keras.ops.copy(variable.value) for variable in variables]


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
        self._bar.set_postfix(epoch=self._loop.done + 1, loss=f"{loss:.3f}", refresh=False)
        self._bar.update()
