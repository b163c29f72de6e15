"""Shortcuts: baselines that ignore the tissue, and that a model must beat.

Each is fitted to images of other patients, like the model, and scores the evaluated images.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Final

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mammoscope.data.dataset import Example, Facts
from mammoscope.data.scanner_groups import Appearance
from mammoscope.data.splitting import folds
from mammoscope.evaluation.metrics.intervals import Interval, bootstrap
from mammoscope.evaluation.metrics.measures import Curve
from mammoscope.imaging.arrays import FloatArray

_INVERSE_PENALTY: Final = 0.1
"""Inverse strength of the ridge penalty on the standardised features."""

_PRIOR_IMAGES: Final = 5.0
"""Number of images with the average share of tumours added to every group, which keeps small groups
near the average."""

FOLDS: Final = 5
"""Number of folds, by patient, if there are no images of other patients for fitting."""


def measure_shortcuts(
    evaluated: Sequence[Appearance], others: Sequence[Appearance], *, seed: int = 0
) -> dict[str, Interval]:
    """Measure the AUC by image of each baseline, with a 95 % interval from resamples of patients.

    Parameters
    ----------
    evaluated
        Images to score, of both classes.
    others
        Images for fitting; those of patients in `evaluated` are left out. Without any, the
        evaluated images are scored in folds by patient.
    seed
        Seed of folds and intervals.

    Returns
    -------
    dict
        By the baseline's name; baselines without the metadata they need are left out.
    """
    patients = {seen.example.patient_id for seen in evaluated}
    apart = [seen for seen in others if seen.example.patient_id not in patients]
    rounds = (
        [(apart, list(evaluated))]
        if len({seen.example.label for seen in apart}) > 1
        else _cross_fitted(evaluated, seed)
    )
    measured = {}
    for name, (is_known, score) in _BASELINES.items():
        if not any(is_known(seen.example.facts) for seen in evaluated):
            continue
        scores: dict[Example, float] = {}
        for fitted, scored in rounds:
            values = score(fitted, scored)
            scores |= {seen.example: float(v) for seen, v in zip(scored, values, strict=True)}
        measured[name] = _auc([seen.example for seen in evaluated], scores, seed)
    return measured


def _cross_fitted(
    evaluated: Sequence[Appearance], seed: int
) -> list[tuple[list[Appearance], list[Appearance]]]:
    of = {seen.example: seen for seen in evaluated}
    return [
        ([of[example] for example in large], [of[example] for example in small])
        for large, small in folds(list(of), FOLDS, seed)
    ]


def _auc(examples: list[Example], scores: Mapping[Example, float], seed: int) -> Interval:
    labels = np.array([example.label for example in examples], dtype=np.int64)
    _, patients = np.unique([example.patient_id for example in examples], return_inverse=True)
    curve = Curve(np.array([scores[example] for example in examples]), labels)
    found = bootstrap(
        lambda weights: {"auc": curve.auc(weights)}, labels, patients.astype(np.int64), seed=seed
    )
    return found["auc"]


def _by_features(fitted: Sequence[Appearance], scored: Sequence[Appearance]) -> FloatArray:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=_INVERSE_PENALTY, max_iter=1000))
    model.fit(np.stack([seen.features for seen in fitted]), [seen.example.label for seen in fitted])
    return np.asarray(model.decision_function(np.stack([seen.features for seen in scored])))


def _by_age(fitted: Sequence[Appearance], scored: Sequence[Appearance]) -> FloatArray:
    known = [seen for seen in fitted if seen.example.facts.age is not None]
    ages = np.array([seen.example.facts.age for seen in known], dtype=np.float64)
    if np.unique(ages).size < 2 or len({seen.example.label for seen in known}) < 2:
        return np.zeros(len(scored))
    labels = [seen.example.label for seen in known]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(ages[:, None], labels)
    asked = [seen.example.facts.age for seen in scored]
    filled = np.array([ages.mean() if age is None else age for age in asked])
    return np.asarray(model.decision_function(filled[:, None]))


def _by_group(
    fact: str,
) -> Callable[[Sequence[Appearance], Sequence[Appearance]], FloatArray]:
    """Score an image by the share of tumours among images with the same value of `fact`."""

    def score(fitted: Sequence[Appearance], scored: Sequence[Appearance]) -> FloatArray:
        average = float(np.mean([seen.example.label for seen in fitted]))
        tumours: dict[str | None, float] = {}
        images: dict[str | None, float] = {}
        for seen in fitted:
            name = getattr(seen.example.facts, fact)
            tumours[name] = tumours.get(name, _PRIOR_IMAGES * average) + seen.example.label
            images[name] = images.get(name, _PRIOR_IMAGES) + 1
        names = [getattr(seen.example.facts, fact) for seen in scored]
        return np.array(
            [tumours[name] / images[name] if name in images else average for name in names]
        )

    return score


_Score = Callable[[Sequence[Appearance], Sequence[Appearance]], FloatArray]

_BASELINES: Final[Mapping[str, tuple[Callable[[Facts], object], _Score]]] = {
    "histogram, box and inversion": (lambda _: True, _by_features),
    "age": (attrgetter("age"), _by_age),
    "machine": (attrgetter("machine_id"), _by_group("machine_id")),
    "site": (attrgetter("site_id"), _by_group("site_id")),
}
"""By name: whether an image has the metadata it needs, and the scoring function."""
