"""Distillation: a network learns the mean answer of earlier runs beside the labels.

Networks that learned from the same images differ by chance, and the mean of their answers is
better than each. A network that has learned the mean serves it in one pass.

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
"""Parts of a run's split from which its network did not learn."""

_SAME: Final = ("backbone", "head", "input_size", "crop", "channels")
"""Settings that a teacher and the network that learns from it have in common."""


def teacher_answers(
    learned: PreprocessedExamples,
    kept_away: Sequence[Example],
    config: TrainConfig,
    load: Callable[[TrainConfig], keras.Model],
) -> npt.NDArray[np.float32]:
    """Probability of a tumour by the mean of the teachers' calibrated log-odds: float32 (N,).

    Parameters
    ----------
    learned
        The images that are learned from.
    kept_away
        Images of the validation and test patients. No teacher may have learned from one of these
        patients, because this run would then learn from them too.
    config
        Names the teachers.
    load
        Makes a configuration's network, with the weights that it names.

    Raises
    ------
    ArtifactError
        If a teacher's model or card cannot be read.
    LeakageError
        If a teacher learned from a patient whom this run keeps away.
    RunError
        If a teacher's folder is not that of a complete run of the same kind of network.
    """
    patients = {example.patient_id for example in kept_away}
    folders = [Path(folder) for folder in config.teachers]
    smoothings = [_require_alike(folder, config).smoothing for folder in folders]
    for folder in folders:
        if patients & _patients(folder):
            raise LeakageError(
                f"The teacher {folder.name} learned from patients whom this run keeps away."
            )
    log_odds = np.zeros(len(learned.examples), np.float64)
    for folder, smoothing in zip(folders, smoothings, strict=True):
        artifact = load_artifact(folder)
        if artifact.card is None:
            raise RunError(f"The teacher {folder.name} has no card.")
        calibration = artifact.card.calibration
        own = {"weights": str(artifact.network), "smoothing": smoothing}
        network = load(config.model_copy(update=own))
        logits = predict(network, learned.pixels, f"teacher {folder.name}")
        log_odds += calibration.slope * logits + calibration.intercept
    return (1.0 / (1.0 + np.exp(-log_odds / len(folders)))).astype(np.float32)


def _require_alike(folder: Path, config: TrainConfig) -> TrainConfig:
    try:
        teacher = TrainConfig.from_record((folder / CONFIG_NAME).read_bytes())
    except OSError as err:
        raise RunError(f"The teacher {folder.name} is not the folder of a training run.") from err
    except ConfigurationError as err:
        raise RunError(f"The teacher {folder.name} cannot be used. {err}") from err
    if other := [name for name in _SAME if getattr(teacher, name) != getattr(config, name)]:
        raise RunError(
            f"The teacher {folder.name} differs in {', '.join(other)} from the network it teaches."
        )
    return teacher


def _patients(folder: Path) -> set[str]:
    """The patients that the teacher learned from."""
    return {row.patient_id for row in read_split(folder) if row.part not in _NOT_LEARNED}
