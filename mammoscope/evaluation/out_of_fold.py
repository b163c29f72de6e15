"""Predictions of the networks of a run's folds for patients they were not trained on.

A run is a folder with a record for each fold: ``fold-1`` and so on. Logits of different folds come
from different networks, so raw logits are never pooled. What makes them comparable (calibration,
thresholds, the mean of several runs, the age) is fitted to the other folds.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from mammoscope.data.dataset import Facts
from mammoscope.errors import RunError
from mammoscope.evaluation.aggregation import SCORES_NAME, scored_of
from mammoscope.evaluation.metrics.calibration_fit import fit_platt, fit_platt_with_age
from mammoscope.evaluation.metrics.operating import fit_scale
from mammoscope.evaluation.metrics.scored import Scored
from mammoscope.imaging.arrays import FloatArray
from mammoscope.model.artifact.card import DEFAULT_POINT
from mammoscope.model.calibration import AgeCalibration, Calibration

_Fitted = TypeVar("_Fitted")


@dataclass(frozen=True, slots=True, eq=False)
class FoldScores:
    """A fold's validation images and their logits.

    Parameters
    ----------
    name
        Name of the fold's record.
    digests
        SHA-256 of each image's file, in order; in a run's own folder, the file's name.
    scored
        The images in that order.
    thresholds
        Operating points by name, in calibrated probability; none before `calibrate_folds`.
    """

    name: str
    digests: tuple[str, ...]
    scored: Scored
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def with_logits(self, logits: FloatArray) -> "FoldScores":
        """Return the same images with other logits (N,)."""
        return replace(self, scored=replace(self.scored, logits=logits))


Folds = Sequence[FoldScores]


def read_fold_scores(run: Path, key: Literal["sha256", "file"] = "sha256") -> list[FoldScores]:
    """Read all folds for which a run has scores, in order.

    Published records name an image by its SHA-256, a run's own folder by its file: `key`.

    Raises
    ------
    RunError
        If there is none, or one is damaged.
    """
    tables = sorted(run.glob(f"fold-*/{SCORES_NAME}"))
    if not tables:
        raise RunError(f"The run {run.name} has no scores of a fold (fold-*/{SCORES_NAME}).")
    return [_read(table, key) for table in tables]


def _read(table: Path, key: str) -> FoldScores:
    try:
        with table.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            rows = sorted(csv.DictReader(stream), key=lambda row: row[key])
        scored = scored_of(rows)
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as err:
        raise RunError(f"The scores of {table.parent.name} are damaged.") from err
    return FoldScores(table.parent.name, tuple(row[key] for row in rows), scored)


def folds_in_common(runs: Sequence[Folds]) -> list[list[FoldScores]]:
    """Keep the folds that are in all runs.

    Raises
    ------
    RunError
        If there are none, or the runs differ in a fold's images, labels, patients or breasts.
    """
    names = set.intersection(*({fold.name for fold in run} for run in runs))
    if not names:
        raise RunError("The runs have no scores of the same fold.")
    kept = [[fold for fold in run if fold.name in names] for run in runs]
    for first, *others in zip(*kept, strict=True):
        for other in others:
            if first.digests != other.digests or any(
                not np.array_equal(getattr(first.scored, name), getattr(other.scored, name))
                for name in ("labels", "patients", "breasts")
            ):
                raise RunError(f"The runs were validated on different images in {first.name}.")
    return kept


def average_runs(runs: Sequence[Folds]) -> list[FoldScores]:
    """Average the calibrated log-odds of several runs, fold by fold; a single run is unchanged.

    Raises
    ------
    RunError
        If there are several runs with only one fold, because no other fold can calibrate it.
    """
    if len(runs) == 1:
        return list(runs[0])
    log_odds = [calibrated_log_odds(run) for run in runs]
    return [
        of_runs[0].with_logits(np.mean([fold.scored.logits for fold in of_runs], axis=0))
        for of_runs in zip(*log_odds, strict=True)
    ]


def calibrated_log_odds(run: Folds) -> list[FoldScores]:
    """Return the log-odds of each fold, calibrated on the others.

    Raises
    ------
    RunError
        If there is only one fold.
    """
    return [
        fold.with_logits(calibration.log_odds(fold.scored.logits))
        for fold, calibration in _fitted(run, _fit_platt)
    ]


def on_one_scale(run: Folds) -> list[FoldScores]:
    """Bring the logits of all folds to the scale of a network trained on the patients of all.

    Each fold is calibrated on the others. The result is the logits that give these probabilities
    with one calibration, fitted to all folds.

    Raises
    ------
    RunError
        If there is only one fold.
    """
    together = _fit_platt(run)
    return [
        fold.with_logits((fold.scored.logits - together.intercept) / together.slope)
        for fold in calibrated_log_odds(run)
    ]


def add_age(run: Folds, facts: Mapping[str, Facts]) -> list[FoldScores]:
    """Add the woman's age to the log-odds.

    Parameters
    ----------
    run
        At least two folds.
    facts
        Facts about images, by digest.

    Raises
    ------
    RunError
        If there is only one fold, an age is unknown, or the age adds nothing in the other folds.
    """

    def years(folds: Folds) -> FloatArray:
        ages = [facts.get(digest, Facts()).age for fold in folds for digest in fold.digests]
        return np.array(ages, np.float64)

    def fit(others: Folds) -> AgeCalibration | None:
        pooled = _pooled(others)
        return fit_platt_with_age(pooled.logits, years(others), pooled.labels)

    if np.isnan(years(run)).any():
        raise RunError("The age of a woman is unknown.")
    result = []
    for fold, fitted in _fitted(run, fit):
        if fitted is None:
            raise RunError("The age adds nothing in the other folds.")
        result.append(fold.with_logits(fitted.log_odds(fold.scored.logits, years([fold]))))
    return result


def calibrate_folds(run: Folds) -> list[FoldScores]:
    """Calibrate each fold, and choose its thresholds, on the other folds.

    Raises
    ------
    RunError
        If there is only one fold.
    """
    return [
        replace(
            fold,
            scored=replace(fold.scored, calibration=scale.calibration),
            thresholds=scale.thresholds,
        )
        for fold, scale in _fitted(run, lambda others: fit_scale(_pooled(others), DEFAULT_POINT))
    ]


def _fitted(run: Folds, fit: Callable[[Folds], _Fitted]) -> list[tuple[FoldScores, _Fitted]]:
    """Return each fold with the result of `fit` for all other folds."""
    return [(fold, fit([other for other in run if other is not fold])) for fold in run]


def _fit_platt(folds: Folds) -> Calibration:
    pooled = _pooled(folds)
    return fit_platt(pooled.logits, pooled.labels)


def _pooled(folds: Folds) -> Scored:
    """Pool the images of several folds."""
    if not folds:
        raise RunError("A fold is calibrated on other folds, but there is only one.")
    return Scored.of(
        np.concatenate([fold.scored.labels for fold in folds]),
        np.concatenate([fold.scored.logits for fold in folds]),
        patients=[
            (fold.name, patient) for fold in folds for patient in fold.scored.patients.tolist()
        ],
    )
