"""Scores and labels by image, breast and patient."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mammoscope.imaging.arrays import FloatArray, IntArray
from mammoscope.model.calibration import Calibration


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Labels and logits of N images (or breasts, or patients), with their patients and breasts.

    `Scored.of` builds one from lists.

    Parameters
    ----------
    labels
        int64 (N,), 0 or 1.
    logits
        float64 (N,), raw scores, finite.
    patients, breasts
        int64 (N,), patient and breast of each, numbered from 0 without gaps.
    calibration
        Maps logits to probabilities.
    """

    labels: IntArray
    logits: FloatArray
    patients: IntArray
    breasts: IntArray
    calibration: Calibration = field(default_factory=Calibration)

    def __post_init__(self) -> None:
        arrays = (self.labels, self.logits, self.patients, self.breasts)
        if self.labels.ndim != 1 or any(a.shape != self.labels.shape for a in arrays):
            raise ValueError("labels, logits, patients and breasts must have the same length")
        if not np.isin(self.labels, (0, 1)).all() or not np.isfinite(self.logits).all():
            raise ValueError("labels must be 0 or 1 and logits finite")

    @classmethod
    def of(
        cls,
        labels: npt.ArrayLike,
        logits: npt.ArrayLike,
        *,
        patients: Sequence[Any] | None = None,
        breasts: Sequence[Any] | None = None,
        calibration: Calibration | None = None,
    ) -> Self:
        """Build from lists, numbering patients and breasts by their ids.

        Parameters
        ----------
        labels, logits
            One per image.
        patients
            Any hashable id per image; None makes each image a patient.
        breasts
            Id per image, unique across patients; None makes each image a breast.
        calibration
            None applies the sigmoid to the logit.

        Raises
        ------
        ValueError
            If lengths differ, a label is not 0 or 1, or a logit is not finite.
        """
        marks = np.asarray(labels)
        if not np.isin(marks, (0, 1)).all():
            raise ValueError("labels must be 0 or 1")
        return cls(
            labels=marks.astype(np.int64),
            logits=np.asarray(logits, np.float64),
            patients=_numbered(patients, marks.size),
            breasts=_numbered(breasts, marks.size),
            calibration=calibration or Calibration(),
        )

    @property
    def probabilities(self) -> FloatArray:
        """Calibrated probabilities of label 1, float64 (N,) in [0, 1]."""
        return self.calibration.probabilities(self.logits)

    def by_breast(self) -> "Scored":
        """Average the logits of each breast's images; the label is the highest.

        Calibration is affine in the logit, so this equals averaging the calibrated log-odds.
        """
        sums = np.bincount(self.breasts, weights=self.logits)
        return _group(self, self.breasts, sums / np.bincount(self.breasts))

    def by_patient(self) -> "Scored":
        """Take the higher of each patient's breasts, for score and label alike."""
        breasts = self.by_breast()
        highest = np.full(int(breasts.patients.max()) + 1, -np.inf)
        np.maximum.at(highest, breasts.patients, breasts.logits)
        return _group(breasts, breasts.patients, highest)


def _group(scored: Scored, groups: IntArray, logits: FloatArray) -> Scored:
    labels = np.zeros(logits.size, np.int64)
    np.maximum.at(labels, groups, scored.labels)
    _, first = np.unique(groups, return_index=True)
    return Scored(
        labels=labels,
        logits=logits,
        patients=_numbered(list(scored.patients[first]), logits.size),
        breasts=np.arange(logits.size),
        calibration=scored.calibration,
    )


def _numbered(ids: Sequence[Any] | None, count: int) -> IntArray:
    if ids is None:
        return np.arange(count)
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(each, len(numbers)) for each in ids], np.int64)
