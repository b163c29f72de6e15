"""The training loop: stages, steps, and checkpoints for resuming a run.

Keras trains the epochs, optimises, and averages the weights. The checkpoints are our own: Keras'
checkpoints have no history and are not replaced atomically, so a killed run could lose both.

The loop uses Keras 3 only, so it runs on TensorFlow, JAX and PyTorch.
"""

import json
import math
import zipfile
import zlib
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
from mammoscope.imaging.arrays import Pixels
from mammoscope.model.networks import CELLS, choose_trainable
from mammoscope.settings.training import TrainConfig
from mammoscope.system.files import replacing
from mammoscope.system.interrupts import delaying_ctrl_c
from mammoscope.training.batches import (
    CLEAN,
    PIXELS,
    TEACHERS,
    Batches,
    PreprocessedExamples,
    as_input,
)
from mammoscope.training.lesions import CELLS_WEIGHT, CellCrossEntropy, LesionBatches
from mammoscope.training.quantisation import RANGE_RATE, Imitation, range_variables
from mammoscope.training.rates import HeadRate
from mammoscope.training.schedules import learning_rate_share
from mammoscope.training.validation import History, measure

_GRADIENT_NORM: Final = 1.0
_PREDICTION_BATCH: Final = 32
_BAR_AFTER_S: Final = 2.0
_TRAIN_METRICS: Final = {"loss": "cross_entropy", "accuracy": "accuracy", "auc": "auc"}
"""Keras' names for measures of the training images, in the history."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """Epochs with the same trainable layers and optimizer."""

    name: str
    first_epoch: int
    epochs: int
    trainable_from: str
    peak_learning_rate: float


def predict(
    network: keras.Model, pixels: Pixels, label: str = "predict"
) -> npt.NDArray[np.float32]:
    """Predict logits of preprocessed images, uint8 (N, H, W) or (N, H, W, 3), to float32 (N,).

    `label` is the title of the progress bar, which appears after two seconds.
    """
    parts = []
    starts = range(0, len(pixels), _PREDICTION_BATCH)
    for start in tqdm(starts, label, unit="batch", disable=None, leave=False, delay=_BAR_AFTER_S):
        batch = as_input(pixels[start : start + _PREDICTION_BATCH])
        with delaying_ctrl_c():
            logits = network.predict_on_batch(batch)["logit"]
        parts.append(keras.ops.convert_to_numpy(logits)[:, 0])
    return np.concatenate(parts).astype(np.float32)


def _stages(config: TrainConfig) -> list[_Stage]:
    """Return the stages that have epochs before the run's end."""
    head = _Stage("head", 0, config.head_epochs, "none", config.head_learning_rate)
    tune = _Stage(
        "tune", config.head_epochs, config.epochs, config.trainable_from, config.learning_rate
    )
    last = math.inf if config.stop_after is None else config.stop_after
    return [stage for stage in (head, tune) if stage.epochs and stage.first_epoch < last]


@dataclass(slots=True)
class Loop:
    """Trains a network epoch by epoch; can be stopped at any time and resumed.

    Parameters
    ----------
    network
        Made by `mammoscope.model.networks.build_network`, with its weights loaded.
    config
        Stages, schedule, optimizer and moving average.
    batches
        Training batches.
    validation
        Images of other patients, evaluated after every epoch; none in a run on all folds.
    checkpoint
        File with the full state after the last completed epoch.
    writes
        Whether to write the checkpoint; False in all but one of several processes.
    teacher
        For imitation: the earlier network whose outputs this one learns to give.
    """

    network: keras.Model
    config: TrainConfig
    batches: Batches | LesionBatches
    validation: PreprocessedExamples
    checkpoint: Path
    writes: bool = True
    teacher: keras.Model | None = None
    history: History = field(default_factory=list)
    _learner: Any = None
    _stage: str = ""

    def run(self, after_epoch: Callable[[History], None]) -> History:
        """Train the remaining epochs; `after_epoch` is called with the history so far.

        Raises
        ------
        RunError
            If the checkpoint is damaged or does not fit the network, or the loss is no longer
            finite.
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
                    if self.writes:
                        self._write_checkpoint()
                    after_epoch(self.history)
        self._take_averages()
        return self.history

    @property
    def _learns_labels(self) -> bool:
        return self.config.layout != "lesions" and self.teacher is None

    @property
    def done(self) -> int:
        """Number of completed epochs."""
        return len(self.history)

    @property
    def _last(self) -> float:
        """Epoch after which the run ends."""
        return math.inf if self.config.stop_after is None else self.config.stop_after

    def _begin(self, stage: _Stage) -> None:
        choose_trainable(self.network, self.config, stage.trainable_from)
        self.network.make_predict_function(force=True)  # on JAX, it depends on what is trainable
        logit = self.network.output["logit"]
        inputs: Any = self.network.input
        outputs = {"logit": logit}
        losses: dict[str, Any] = {
            "logit": keras.losses.BinaryCrossentropy(
                from_logits=True, label_smoothing=self.config.label_smoothing
            )
        }
        weights = {"logit": 1.0}
        if self.config.teachers:
            outputs[TEACHERS] = logit
            losses[TEACHERS] = keras.losses.BinaryCrossentropy(from_logits=True)
            share = self.config.teacher_share
            weights = {"logit": 1.0 - share, TEACHERS: share}
        if self.config.learns_lesions:
            outputs[CELLS] = self.network.get_layer(CELLS).output
            losses[CELLS] = CellCrossEntropy()
            weights[CELLS] = CELLS_WEIGHT
        faster = self.config.head_rate if stage.name == "tune" else 1.0
        spared = self.network.get_layer("backbone").trainable_variables
        if self.teacher is not None:
            self.teacher.trainable = False
            clean = keras.Input(self.network.input.shape[1:], dtype="uint8", name=CLEAN)
            inputs = {PIXELS: self.network.input, CLEAN: clean}
            taught = self.teacher(clean)
            outputs, losses = {"logit": Imitation()(self.network.output, taught)}, {}
            faster, ranges = RANGE_RATE, range_variables(self.network)
            spared = [
                v for v in self.network.trainable_variables if all(v is not r for r in ranges)
            ]
        self._learner = keras.Model(inputs, outputs)
        optimizer = HeadRate(
            faster,
            learning_rate=stage.peak_learning_rate,
            weight_decay=self.config.weight_decay,
            global_clipnorm=_GRADIENT_NORM,
            use_ema=self.config.ema_momentum > 0,
            ema_momentum=self.config.ema_momentum,
        )
        optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
        self._learner.compile(
            optimizer=optimizer,
            loss=losses or None,
            loss_weights=weights if losses else None,
            weighted_metrics={
                "logit": [
                    keras.metrics.BinaryCrossentropy(from_logits=True, name="cross_entropy"),
                    keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy"),
                    keras.metrics.AUC(from_logits=True, name="auc"),
                ]
            },
        )
        optimizer.build(self._learner.trainable_variables)
        optimizer.spare(spared)
        self._build_metrics()
        self._stage = stage.name

    def _build_metrics(self) -> None:
        """Build the metrics. On JAX, `fit` would take batches for it, and mix up the others."""
        pixels, answers, *_ = self.batches[0]
        count = len(answers["logit"])
        with keras.StatelessScope():
            outputs = {
                name: keras.ops.zeros((count, *output.shape[1:]))
                for name, output in self._learner.output.items()
            }
            if self.teacher is None:  # else the loss is a layer's
                self._learner.compute_loss(pixels, answers, outputs)
            self._learner.compute_metrics(pixels, answers, outputs)

    def _epoch(self, stage: _Stage, bar: Any) -> dict[str, Any]:
        began, worked = monotonic(), process_time()
        number = self.done
        self.batches.begin_epoch(number)
        with delaying_ctrl_c() as raise_if_pressed:
            steps = _Steps(self, stage, bar, raise_if_pressed)
            logs = self._learner.fit(
                self.batches,
                shuffle=False,  # the batches are shuffled by their own seed
                verbose=0,
                callbacks=[steps],
            ).history
        trained, worked_on = monotonic(), process_time()
        # At its end, `fit` has replaced the weights by their moving averages. Those are validated,
        # and training continues from the weights. On JAX, they are the optimizer's own arrays until
        # they are set, and predicting would give them away.
        self.network.set_weights(self.network.get_weights())
        validation: dict[str, float] = {}
        if self.validation.examples:
            logits = predict(self.network, self.validation.pixels, "validation")
            validation = measure(self.validation, logits)
        self._learner.set_weights(steps.weights)
        return {
            "epoch": number + 1,
            "stage": stage.name,
            "learning_rate": float(self._learner.optimizer.learning_rate),
            "train": {
                # Keras prefixes the output's name if there are several.
                name: float(logs.get(f"logit_{metric}", logs.get(metric))[-1])
                for name, metric in _TRAIN_METRICS.items()
            }
            # Films alone do not train the label, nor does a teacher.
            | ({"loss": float(logs["loss"][-1])} if not self._learns_labels else {}),
            "validation": validation,
            "seconds": {
                "train": round(trained - began, 3),
                "validation": round(monotonic() - trained, 3),
            },
            # Processor time: other work on the machine does not increase it.
            "processor_seconds": {
                "train": round(worked_on - worked, 3),
                "validation": round(process_time() - worked_on, 3),
            },
        }

    def learning_rate(self, stage: _Stage, step: int) -> float:
        """Return the learning rate for a step of the current epoch."""
        steps = len(self.batches)
        done = (self.done - stage.first_epoch) * steps + step
        return stage.peak_learning_rate * learning_rate_share(
            self.config.schedule if stage.name == "tune" else "constant",
            done / (stage.epochs * steps),
            self.config.warmup_fraction,
            [
                e["validation"]["loss"]
                for e in self.history
                if e["stage"] == stage.name and e["validation"]
            ],
        )

    def _take_averages(self) -> None:
        """Replace the weights by their moving averages, which exist after the first step."""
        optimizer = self._learner.optimizer
        if int(optimizer.iterations) > 0:
            optimizer.finalize_variable_values(self._learner.trainable_variables)

    def _write_checkpoint(self) -> None:
        groups = {
            "weight": self._learner.variables,
            "optimizer": self._learner.optimizer.variables,
        }
        arrays = {
            f"{name}_{i}": keras.ops.convert_to_numpy(value)
            for name, values in groups.items()
            for i, value in enumerate(values)
        }
        try:
            with replacing(self.checkpoint) as target, target.open("wb") as stream:
                np.savez(stream, history=np.array(json.dumps(self.history)), **arrays)
        except OSError as err:
            raise StorageError(
                f"The checkpoint of epoch {self.done} cannot be written; the previous one is "
                "unchanged."
            ) from err

    def _read_checkpoint(self) -> dict[str, Any] | None:
        if not self.checkpoint.is_file():
            return None
        try:
            with self.checkpoint.open("rb") as file, np.load(file) as stored:
                arrays = dict(stored)
            self.history = json.loads(str(arrays.pop("history")))
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as err:
            raise RunError(
                "The run's checkpoint is damaged or cannot be read; start the training over in "
                "another folder."
            ) from err
        return arrays

    def _restore(self, arrays: dict[str, Any]) -> None:
        """Restore a checkpoint's state; at the start of a stage, only its weights."""
        self._assign("weight", self._learner.variables, arrays)
        if self.history[-1]["stage"] == self._stage:
            self._assign("optimizer", self._learner.optimizer.variables, arrays)

    @staticmethod
    def _assign(group: str, variables: list[Any], arrays: dict[str, Any]) -> None:
        if sum(name.startswith(f"{group}_") for name in arrays) != len(variables):
            raise RunError("The checkpoint does not fit the network of this run.")
        for i, variable in enumerate(variables):
            variable.assign(arrays[f"{group}_{i}"])


class _Steps(keras.callbacks.Callback):
    """Callback around every step of a `Loop`."""

    weights: list[npt.NDArray[Any]]
    """The weights after the last step, before Keras replaces them by averages."""

    def __init__(
        self, loop: Loop, stage: _Stage, bar: Any, raise_if_pressed: Callable[[], None]
    ) -> None:
        super().__init__()
        self._raise_if_pressed = raise_if_pressed
        self._loop = loop
        self._stage = stage
        self._bar = bar

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        del logs
        # On JAX, `fit` holds the state elsewhere, and `self.model` gets it back before a change.
        self.model.optimizer.learning_rate = self._loop.learning_rate(self._stage, batch)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        del batch
        loss = (logs or {}).get("loss", float("nan"))
        if not np.isfinite(loss):
            raise RunError("The loss is not a finite number; try a lower learning rate.")
        self._bar.set_postfix(epoch=self._loop.done + 1, loss=f"{loss:.3f}", refresh=False)
        self._bar.update()
        self._raise_if_pressed()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        del epoch, logs
        self.weights = self.model.get_weights()
