"""Records of training runs."""

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
from mammoscope.evaluation.metrics.scored import Scored

HISTORY_NAME: Final = "history.json"
SCORES_NAME: Final = "validation_scores.csv"

History = Sequence[Mapping[str, Any]]
"""One dictionary per epoch: epoch, stage, seconds {train, validation}, and train and validation
with loss, accuracy, auc (validation also breast_auc and within_machine_auc, if known; empty in a
run on all folds)."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Scores of a run's validation images.

    Parameters
    ----------
    images, patients, breasts
        Identifiers of each of the N images, its patient and its breast.
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

    def scored(self) -> Scored:
        """Return the images with `probabilities`, whose log-odds are then the logits."""
        inside = np.clip(self.probabilities, 1e-12, 1.0 - 1e-12)
        return Scored.of(self.labels, np.log(inside) - np.log1p(-inside), patients=self.patients)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """The record of a training run.

    Parameters
    ----------
    name
        Name of the run's folder.
    config
        Resolved configuration.
    history
        One entry per epoch; see `History`.
    measured
        Measures of the finished network on the validation images, but see `by_folds`; empty for an
        unfinished run.
    network
        ``parameters`` and ``multiply_adds``, if they were counted.
    model_version
        Version of the saved network; empty if none was saved.
    scores
        None if no network was saved.
    """

    name: str
    config: Mapping[str, Any]
    history: History
    measured: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, int] = field(default_factory=dict)
    model_version: str = ""
    scores: Scores | None = None

    @property
    def by_folds(self) -> bool:
        """Whether the measures are those of other runs' networks by fold, from their mean.

        A run on all folds has no patients left to measure its own network.
        """
        return bool(self.config.get("calibrated_on"))

    def interval(self, *path: str) -> Interval | None:
        """Return a validation measure, such as ``"breast", "auc"``; None if unknown."""
        found: Any = self.measured
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return Interval.from_json(found) if isinstance(found, Mapping) else None

    def epochs(self, side: str, measure: str) -> npt.NDArray[np.float64]:
        """Return a ``train`` or ``validation`` measure after each epoch; NaN if unknown."""
        return np.array(
            [_number((entry[side] or {}).get(measure)) for entry in self.history], np.float64
        )

    @property
    def processor_seconds(self) -> float:
        """Processor time in seconds, summed over processors; NaN if not recorded."""
        return float(
            sum(
                sum(entry["processor_seconds"].values()) if "processor_seconds" in entry else np.nan
                for entry in self.history
            )
        )


def read_run(folder: Path) -> Run:
    """Read the record in a training run's folder, or its published copy.

    Raises
    ------
    RunError
        If the record is missing or damaged.
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
    """Read the finished runs in a folder whose names match `pattern`; raises `RunError`."""
    runs = (read_run(path.parent) for path in sorted(folder.glob(f"{pattern}/{HISTORY_NAME}")))
    return tuple(run for run in runs if run.measured)


def read_history(path: Path) -> History:
    """Read history.json; raises `RunError` if it is missing, damaged or empty."""
    try:
        history = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise RunError("The run has no readable history.json.") from err
    if not isinstance(history, list) or not history:
        raise RunError("The run's history.json has no epochs.")
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
            raise RunError("The run's validation_scores.csv has no images.")
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
    """Read a JSON object from a record; raises `RunError`."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as err:
        raise RunError(f"{path.name} is missing or damaged.") from err
    if not isinstance(found, dict):
        raise RunError(f"{path.name} is damaged.")
    return found


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
