"""The records of training runs, as figures and tables need them."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mammoscope.errors import RunError
from mammoscope.evaluation.metrics.intervals import Interval

HISTORY_NAME: Final = "history.json"
SCORES_NAME: Final = "validation_scores.csv"

History = Sequence[Mapping[str, Any]]
"""A dictionary for each epoch: epoch, stage, seconds {train, validation}, and train and
validation with loss, accuracy, auc (validation also breast_auc, within_machine_auc where known)."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What a run's network says of its validation images.

    Parameters
    ----------
    images, patients, breasts
        A name for each of the N images: of itself, its patient, its breast.
    labels
        int64 (N,), 0 or 1.
    logits, probabilities
        float64 (N,), raw and calibrated.
    """

    images: tuple[str, ...]
    patients: tuple[str, ...]
    breasts: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """The record of a training run.

    Parameters
    ----------
    name
        Of its folder.
    config
        Resolved configuration.
    history
        As `History`.
    measured
        Measures of the validation images by the finished network, empty for a run that did not
        come to its end.
    network
        ``parameters`` and ``multiply_adds`` where they were counted.
    model_version
        Of the network that was saved, empty where none was.
    scores
        None where no network was saved.
    """

    name: str
    config: Mapping[str, Any]
    history: History
    measured: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, int] = field(default_factory=dict)
    model_version: str = ""
    scores: Scores | None = None

    def interval(self, *path: str) -> Interval | None:
        """A measure of the validation images, such as ``"breast", "auc"``; None where unknown."""
        found: Any = self.measured
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return Interval.from_json(found) if isinstance(found, Mapping) else None

    def epochs(self, side: str, measure: str) -> npt.NDArray[np.float64]:
        """A measure of ``train`` or ``validation`` images after each epoch, NaN where unknown."""
        return np.array(
            [_number((entry[side] or {}).get(measure)) for entry in self.history], np.float64
        )

    @property
    def processor_seconds(self) -> float:
        """Time that processors worked for it, summed over them; NaN where it was not taken."""
        return float(
            sum(
                sum(entry["processor_seconds"].values()) if "processor_seconds" in entry else np.nan
                for entry in self.history
            )
        )


def read_run(folder: Path) -> Run:
    """Read the record in a training run's folder, or the published copy of one.

    Raises
    ------
    RunError
        If it is missing or damaged.
    """
    history = read_history(folder / HISTORY_NAME)
    config = read_object(folder / "config.json")
    network, metrics, version = {}, {}, ""
    if (folder / "network.json").is_file():
        network = read_object(folder / "network.json")
    if (folder / "metrics.json").is_file():
        metrics = read_object(folder / "metrics.json")
        version = metrics.get("model_version", "")
    elif (folder / "card.json").is_file():
        card = read_object(folder / "card.json")
        metrics, version = card.get("metrics", {}), card.get("version", "")
    scores = folder / SCORES_NAME
    return Run(
        name=folder.resolve().name,
        config=config,
        history=history,
        measured=metrics.get("validation", {}),
        network=network,
        model_version=version,
        scores=read_scores(scores) if scores.is_file() else None,
    )


def read_runs(folder: Path, pattern: str = "*") -> tuple[Run, ...]:
    """Read the finished runs of a folder whose names match; raises `RunError`."""
    runs = (read_run(path.parent) for path in sorted(folder.glob(f"{pattern}/{HISTORY_NAME}")))
    return tuple(run for run in runs if run.measured)


def read_history(path: Path) -> History:
    """Read history.json; raises `RunError` where it is missing, damaged or empty."""
    try:
        history = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise RunError("The run has no readable history.json.") from err
    if not isinstance(history, list) or not history:
        raise RunError("The run's history.json holds no epoch.")
    return history


def read_scores(path: Path) -> Scores:
    """Read the scores of validation images.

    Raises
    ------
    RunError
        If the table is missing, damaged or empty.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        if not rows:
            raise RunError("The run's validation_scores.csv holds no image.")
        return Scores(
            images=tuple(row.get("sha256") or row["file"] for row in rows),
            patients=tuple(row["patient"] for row in rows),
            breasts=tuple(row["breast"] for row in rows),
            labels=np.array([int(row["label"]) for row in rows]),
            logits=np.array([float(row["logit"]) for row in rows]),
            probabilities=np.array([float(row["probability"]) for row in rows]),
        )
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as err:
        raise RunError("The run's validation_scores.csv cannot be read.") from err


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object of a record; raises `RunError`."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as err:
        raise RunError(f"{path.name} is missing or damaged.") from err
    if not isinstance(found, dict):
        raise RunError(f"{path.name} is damaged.")
    return found


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
