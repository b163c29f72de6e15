"""What figures need of the record of a training run."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from mammoscope.errors import RunError

HISTORY_NAME: Final = "history.json"
SCORES_NAME: Final = "validation_scores.csv"

History = Sequence[Mapping[str, Any]]
"""A dictionary for each epoch: epoch, stage, seconds {train, validation}, and train and
validation with loss, accuracy, auc (validation also breast_auc, within_machine_auc where known)."""


def read_history(path: Path) -> History:
    """Read history.json; raises `RunError` where it is missing, damaged or empty."""
    try:
        history = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise RunError("The run has no readable history.json.") from err
    if not isinstance(history, list) or not history:
        raise RunError("The run's history.json holds no epoch.")
    return history


def read_scores(path: Path) -> dict[str, Any]:
    """Read the scores of validation pictures.

    Returns
    -------
    dict
        ``label`` int64 (N,), ``logit`` and ``probability`` float64 (N,), ``patient`` a list of N
        names.

    Raises
    ------
    RunError
        If the table is missing, damaged or empty.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        if not rows:
            raise RunError("The run's validation_scores.csv holds no picture.")
        return {
            "label": np.array([int(row["label"]) for row in rows]),
            "logit": np.array([float(row["logit"]) for row in rows]),
            "probability": np.array([float(row["probability"]) for row in rows]),
            "patient": [row["patient"] for row in rows],
        }
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as err:
        raise RunError("The run's validation_scores.csv cannot be read.") from err
