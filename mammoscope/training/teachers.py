"""Distillation: train a network on the mean prediction of earlier runs, in addition to the labels.

Networks trained on the same images differ by chance, and their mean prediction is better than each.
A network distilled from them gives this prediction in one pass.

References
----------
Hinton G, Vinyals O, Dean J. Distilling the knowledge in a neural network. arXiv:1503.02531.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import keras
import numpy as np
import numpy.typing as npt

from mammoscope.data.dataset import Example
from mammoscope.data.split_table import read_split
from mammoscope.errors import ConfigurationError, LeakageError, RunError
from mammoscope.model.artifact.folder import load_artifact
from mammoscope.settings.training import TrainConfig
from mammoscope.training.batches import PreprocessedExamples
from mammoscope.training.loop import predict
from mammoscope.training.run_folder import CONFIG_NAME

_NOT_LEARNED: Final = {"validation", "test"}
"""Parts of a run's split on which its network was not trained."""

_SAME: Final = ("backbone", "head", "input_size", "crop", "channels")
"""Settings that a teacher must share with the new network."""


def teacher_answers(
    learned: PreprocessedExamples,
    kept_away: Sequence[Example],
    config: TrainConfig,
    load: Callable[[TrainConfig], keras.Model],
) -> npt.NDArray[np.float32]:
    """Return the probability of the teachers' mean calibrated log-odds: float32 (N,).

    Parameters
    ----------
    learned
        The training images.
    kept_away
        Images of the validation and test patients. No teacher may have been trained on one of these
        patients, because the new network would then indirectly be trained on them too.
    config
        Lists the teachers.
    load
        Builds a configuration's network and loads the weights that it names.

    Raises
    ------
    ArtifactError
        If a teacher's model or card cannot be read.
    LeakageError
        If a teacher was trained on one of this run's validation or test patients.
    RunError
        If a teacher's folder is not a complete run with the same kind of network.
    """
    folders = [Path(folder) for folder in config.teachers]
    configs = [require_alike(folder, config) for folder in folders]
    require_not_learned(kept_away, folders)
    log_odds = np.zeros(len(learned.examples), np.float64)
    for folder, its in zip(folders, configs, strict=True):
        artifact = load_artifact(folder)
        if artifact.card is None:
            raise RunError(f"The teacher {folder.name} has no card.")
        calibration = artifact.card.calibration
        own = {
            "weights": str(artifact.network),
            "smoothing": its.smoothing,
            "smoothing_width": its.smoothing_width,
        }
        network = load(config.model_copy(update=own))
        logits = predict(network, learned.pixels, f"teacher {folder.name}")
        log_odds += calibration.slope * logits + calibration.intercept
    return (1.0 / (1.0 + np.exp(-log_odds / len(folders)))).astype(np.float32)


def require_alike(folder: Path, config: TrainConfig) -> TrainConfig:
    """Return the configuration of an earlier run, which must have the same kind of network.

    Raises
    ------
    RunError
        If it is not a run, or its network is of another kind.
    """
    try:
        teacher = TrainConfig.from_record((folder / CONFIG_NAME).read_bytes())
    except OSError as err:
        raise RunError(f"{folder.name} is not the folder of a training run.") from err
    except ConfigurationError as err:
        raise RunError(f"The run {folder.name} cannot be used. {err}") from err
    if other := [name for name in _SAME if getattr(teacher, name) != getattr(config, name)]:
        raise RunError(f"The run {folder.name} differs from the new network in {', '.join(other)}.")
    return teacher


def require_not_learned(kept_away: Sequence[Example], teachers: Sequence[Path]) -> None:
    """Refuse teachers that were trained on a patient of `kept_away`.

    Raises
    ------
    LeakageError
        If there is one.
    """
    patients = {example.patient_id for example in kept_away}
    for folder in teachers:
        if patients & _patients(folder):
            raise LeakageError(
                f"The teacher {folder.name} was trained on validation or test patients of this run."
            )


def _patients(folder: Path) -> set[str]:
    """Return the patients on whom the teacher was trained."""
    return {row.patient_id for row in read_split(folder) if row.part not in _NOT_LEARNED}
