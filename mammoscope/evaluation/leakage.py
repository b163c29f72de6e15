"""Measure leakage: how much a split by image inflates a result of the same small model.

Images of one patient are similar. If some are in the training part and others in the test part, a
model gains from recognising the patient.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import StratifiedKFold

from mammoscope.data.dataset import Example
from mammoscope.data.scanner_groups import Appearance
from mammoscope.data.splitting import folds, shared_patients
from mammoscope.evaluation.metrics.intervals import Interval, Measured, bootstrap
from mammoscope.evaluation.metrics.measures import Curve
from mammoscope.imaging.arrays import Float, FloatArray, IntArray

FOLDS: Final = 5

_TREES: Final = 100
_SMALLEST_LEAF: Final = 3

_Parts = tuple[list[int], list[int]]
"""Indices of the images in the training part and in the test part."""


@dataclass(frozen=True, slots=True)
class SplitOutcome(Measured):
    """Results of the small model with one kind of split.

    Parameters
    ----------
    auc
        AUC by image; every image is in exactly one test part.
    judged_patients, shared_patients
        Mean number of patients per test part, and of those also in the training part.
    """

    auc: Interval
    judged_patients: float
    shared_patients: float


@dataclass(frozen=True, slots=True)
class Leakage(Measured):
    """Results of the same small model with a split by image and with a split by patient.

    ``difference`` is the AUC with the split by image minus that with the split by patient, on the
    same resamples of patients.
    """

    folds: int
    by_image: SplitOutcome
    by_patient: SplitOutcome
    difference: Interval


def measure_leakage(seen: Sequence[Appearance], *, seed: int = 0) -> Leakage:
    """Cross-validate a forest on scanner features and thumbnails, split by image and by patient.

    Parameters
    ----------
    seen
        Images with thumbnails, of both labels. None may be of a test split, because the result
        describes the data.
    seed
        Seed of splits, trees and intervals.

    Raises
    ------
    EmptyDatasetError, SingleClassError
        As in `mammoscope.data.splitting.folds`.
    """
    examples = [each.example for each in seen]
    features = np.stack([_features(each) for each in seen])
    labels = np.array([example.label for example in examples], dtype=np.int64)
    _, patients = np.unique([e.patient_id for e in examples], return_inverse=True)
    curves, shared = {}, {}
    for name, parts in (
        ("patient", list(_by_patient(examples, seed))),
        ("image", list(_by_image(labels, seed))),
    ):
        scores = np.zeros(labels.size)
        for learned, tested in parts:
            model = ExtraTreesClassifier(
                _TREES, min_samples_leaf=_SMALLEST_LEAF, random_state=seed
            ).fit(features[learned], labels[learned])
            scores[tested] = model.predict_proba(features[tested])[:, 1]
        curves[name] = Curve(scores, labels)
        shared[name] = _shared(examples, parts)

    def areas(weights: FloatArray) -> dict[str, FloatArray]:
        found = {name: curve.auc(weights) for name, curve in curves.items()}
        return found | {"difference": found["image"] - found["patient"]}

    measured = bootstrap(areas, labels, patients.astype(np.int64), seed=seed)
    return Leakage(
        folds=FOLDS,
        by_image=SplitOutcome(measured["image"], *shared["image"]),
        by_patient=SplitOutcome(measured["patient"], *shared["patient"]),
        difference=measured["difference"],
    )


def _features(seen: Appearance) -> Float:
    if seen.thumbnail is None:
        raise ValueError("leakage is measured on images with thumbnails")
    return np.concatenate([seen.features, seen.thumbnail.ravel().astype(np.float32) / 255.0])


def _by_patient(examples: Sequence[Example], seed: int) -> Iterator[_Parts]:
    place = {example: i for i, example in enumerate(examples)}
    for large, small in folds(examples, FOLDS, seed):
        yield [place[e] for e in large], [place[e] for e in small]


def _by_image(labels: IntArray, seed: int) -> Iterator[_Parts]:
    """Split as the published folders were; nothing else in the package splits by image."""
    divider = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for large, small in divider.split(np.zeros(labels.size), labels):
        yield large.tolist(), small.tolist()


def _shared(examples: Sequence[Example], parts: Sequence[_Parts]) -> tuple[float, float]:
    """Mean number of test patients per fold, and of those who are also training patients."""
    tested, both = [], []
    for learned, kept in parts:
        kept_examples = [examples[i] for i in kept]
        tested.append(len({e.patient_id for e in kept_examples}))
        both.append(len(shared_patients([examples[i] for i in learned], kept_examples)))
    return float(np.mean(tested)), float(np.mean(both))
