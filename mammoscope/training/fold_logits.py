"""Logits for a network's own training patients, from networks that were not trained on them."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from mammoscope.data.fold_table import FOLDS
from mammoscope.errors import RunError
from mammoscope.evaluation.out_of_fold import on_one_scale, read_fold_scores
from mammoscope.settings.training import TrainConfig
from mammoscope.training.batches import PreprocessedExamples
from mammoscope.training.teachers import require_alike


def fold_logits(
    learned: PreprocessedExamples, run: Path, config: TrainConfig
) -> npt.NDArray[np.float32]:
    """Return the logits of the networks of a run's folds, on one scale: float32 (N,).

    Parameters
    ----------
    learned
        Images of the patients of all folds.
    run
        Folder of the run, with a complete run for each fold.
    config
        Configuration of the network that is trained on all folds.

    Raises
    ------
    RunError
        If a fold is missing or has another kind of network, or the folds have other images.
    """
    for number in range(1, FOLDS + 1):
        require_alike(run / f"fold-{number}", config)
    logits = {
        name: logit
        for fold in on_one_scale(read_fold_scores(run, "file"))
        for name, logit in zip(fold.digests, fold.scored.logits, strict=True)
    }
    names = [each.name for each in learned.examples]
    if logits.keys() != set(names):
        raise RunError(f"The folds of {run.name} were validated on other images than these.")
    return np.array([logits[name] for name in names], np.float32)
