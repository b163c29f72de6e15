"""Predictions for a network's own training patients, from networks not trained on them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mammoscope.data.dataset import Example
from mammoscope.data.fold_table import FOLDS
from mammoscope.errors import RunError
from mammoscope.evaluation.out_of_fold import (
    FoldScores,
    average_runs,
    calibrated_log_odds,
    folds_in_common,
    on_one_scale,
    read_fold_scores,
)
from mammoscope.settings.training import TrainConfig
from mammoscope.training.batches import PreprocessedExamples
from mammoscope.training.teachers import require_alike, require_not_learned


def fold_logits(learned: PreprocessedExamples, config: TrainConfig) -> npt.NDArray[np.float32]:
    """Return the logits of the runs in `calibrated_on`: float32 (N,).

    Those of one run are brought to the scale of a network that was trained like it. Those of
    several are the log-odds of their mean, which is what the network learns.

    Parameters
    ----------
    learned
        Images of the patients of all folds.
    config
        Configuration of the network that is trained on all folds.

    Raises
    ------
    RunError
        If a fold is missing, or that of a single run has another kind of network, or the folds have
        other images.
    """
    runs = [Path(run) for run in config.calibrated_on]
    if len(runs) > 1:
        return _of_images(learned, calibrated_log_odds(_mean(runs)))
    for fold in _folds(runs):
        require_alike(fold, config)
    return _of_images(learned, on_one_scale(_mean(runs)))


def fold_answers(
    learned: PreprocessedExamples, kept_away: Sequence[Example], config: TrainConfig
) -> npt.NDArray[np.float32]:
    """Return the mean probabilities of teachers that are runs with folds: float32 (N,).

    Each is calibrated on the folds of other patients.

    Parameters
    ----------
    learned
        Images of the patients of all folds.
    kept_away
        Images of the test patients. No teacher may have been trained on one of them.
    config
        Lists the teachers.

    Raises
    ------
    LeakageError
        If a teacher was trained on a test patient.
    RunError
        If a fold is missing, or the folds have other images.
    """
    runs = [Path(run) for run in config.teachers]
    require_not_learned(kept_away, _folds(runs))
    log_odds = _of_images(learned, calibrated_log_odds(_mean(runs)))
    return np.asarray(1.0 / (1.0 + np.exp(-log_odds)), np.float32)


def _folds(runs: Sequence[Path]) -> list[Path]:
    return [run / f"fold-{number}" for run in runs for number in range(1, FOLDS + 1)]


def _mean(runs: Sequence[Path]) -> list[FoldScores]:
    return average_runs(folds_in_common([read_fold_scores(run, "file") for run in runs]))


def _of_images(
    learned: PreprocessedExamples, folds: Sequence[FoldScores]
) -> npt.NDArray[np.float32]:
    """Return the logits of the folds in the order of the images."""
    logits = {
        name: logit
        for fold in folds
        for name, logit in zip(fold.digests, fold.scored.logits, strict=True)
    }
    names = [each.name for each in learned.examples]
    if logits.keys() != set(names):
        raise RunError("The runs with folds were validated on other images than these.")
    return np.array([logits[name] for name in names], np.float32)
