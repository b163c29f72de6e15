"""Measure a model on a data set: read, predict, compare with the labels."""

import os
from bisect import bisect
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from mammoscope.data.dataset import Dataset, Example, breast_ids
from mammoscope.data.scanner_groups import (
    Appearance,
    group_by_scanner,
    scanner_features,
    thumbnail,
)
from mammoscope.errors import EmptyDatasetError, ImageError
from mammoscope.evaluation.aggregation import scales_of
from mammoscope.evaluation.metrics.assessment import Evaluation, evaluate_scores, evaluate_with_age
from mammoscope.evaluation.metrics.intervals import RESAMPLES, Interval
from mammoscope.evaluation.metrics.scored import Scored
from mammoscope.imaging.arrays import Float
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.quality import require_mammogram
from mammoscope.imaging.reading import read_file
from mammoscope.model.artifact.card import Card
from mammoscope.model.engine import Engine

_AGE_BANDS: Final = (50, 60, 70)
"""Bounds of the age bands in years; screening programmes invite from 50 to 69."""

_FEWEST_FOR_SCANNER_GROUPS: Final = 60
"""Minimum number of images for scanner groups, which replace the machine if it is unknown."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class ScoredExample:
    """An image and its score.

    Parameters
    ----------
    example
        The image.
    logit
        Raw score from the network.
    inverted
        Whether the image had a bright background.
    chest_wall
        Side of the image with the chest wall: ``left`` or ``right``.
    features
        The image's `mammoscope.data.scanner_groups.scanner_features`.
    """

    example: Example
    logit: float
    inverted: bool
    chest_wall: str
    features: Float


@dataclass(frozen=True, slots=True)
class RefusedExample:
    """A refused image, with the code and the message of the reason."""

    example: Example
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Assessment:
    """An evaluation with the facts needed to interpret it.

    Parameters
    ----------
    evaluation
        The measurements.
    model_version
        Version of the model, from its card.
    split
        Name of the evaluated split; empty if the folder has no splits.
    refused
        Number of refused images by code.
    patients_known
        Whether the patient of every image is known. If not, each image without one counts as a
        patient; intervals are then too narrow and leakage cannot be excluded.
    shared_patients
        Number of patients of this split who are also in another split of the folder.
    leaky_training
        Whether the model was trained on a split whose test folder shares patients with it.
    with_age
        Measurements with the woman's age in the probability, on images whose age is known. None if
        the model does not use the age or too few ages are known.
    shortcuts
        AUC by image of each shortcut, by name; empty if not measured.
    """

    evaluation: Evaluation
    model_version: str
    split: str
    refused: Mapping[str, int]
    patients_known: bool
    shared_patients: int
    leaky_training: bool
    with_age: Evaluation | None
    shortcuts: Mapping[str, Interval] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "split": self.split or None,
            "model_version": self.model_version,
            "patients_known": self.patients_known,
            "interval_by": "patient" if self.patients_known else "picture",
            "shared_patients": self.shared_patients,
            "leaky_training": self.leaky_training,
            "refused": {"count": sum(self.refused.values()), "codes": dict(self.refused)},
            "within_machine": None,  # stays None if too little is known about machines
            **self.evaluation.to_json(),
            "with_age": self.with_age.to_json() if self.with_age else None,
            "shortcuts": {name: area.to_json() for name, area in self.shortcuts.items()},
        }


def score_examples(
    examples: Iterable[Example], engine: Engine, *, workers: int | None = None
) -> Iterator[ScoredExample | RefusedExample]:
    """Read images and predict in threads; yields one outcome per image, in order.

    A refused image is also an outcome.
    """

    def predict(example: Example) -> ScoredExample | RefusedExample:
        try:
            mammogram = read_file(example.path, needed=engine.card.input_size)
            prediction = engine.predict(mammogram)
        except ImageError as err:
            return RefusedExample(example, err.code, str(err))
        preprocessed = prediction.preprocessed
        return ScoredExample(
            example,
            prediction.logit,
            preprocessed.inverted,
            preprocessed.chest_wall,
            scanner_features(mammogram, preprocessed),
        )

    return map_ahead(predict, examples, workers=workers)


def describe_examples(
    examples: Iterable[Example], *, workers: int | None = None
) -> Iterator[Appearance | RefusedExample]:
    """Read images without predicting, for fitting shortcuts; otherwise like `score_examples`."""

    def describe(example: Example) -> Appearance | RefusedExample:
        try:
            mammogram = read_file(example.path, needed=_SMALL)
            preprocessed = preprocess(mammogram, _SMALL)
            require_mammogram(mammogram, preprocessed)
        except ImageError as err:
            return RefusedExample(example, err.code, str(err))
        return Appearance(
            example, scanner_features(mammogram, preprocessed), thumbnail(preprocessed)
        )

    return map_ahead(describe, examples, workers=workers)


_SMALL: Final = (96, 72)
"""Size in pixels of images preprocessed only for scanner features."""


def assess(
    dataset: Dataset,
    split: str,
    outcomes: Sequence[ScoredExample | RefusedExample],
    card: Card,
    *,
    resamples: int = RESAMPLES,
) -> Assessment:
    """Evaluate the outcomes of one split's images.

    Parameters
    ----------
    dataset, split
        The evaluated data.
    outcomes
        Result of `score_examples`.
    card
        Card of the model that scored.
    resamples
        Number of bootstrap resamples for the intervals.

    Raises
    ------
    EmptyDatasetError
        If no image could be scored.
    SingleClassError
        If the scored images, or their patients, are all of one class.
    """
    scored = [outcome for outcome in outcomes if isinstance(outcome, ScoredExample)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, RefusedExample)]
    if not scored:
        raise EmptyDatasetError("Every image was refused; there is nothing to evaluate.")
    examples = [outcome.example for outcome in scored]
    images = Scored.of(
        [example.label for example in examples],
        [outcome.logit for outcome in scored],
        patients=[example.patient_id for example in examples],
        breasts=breast_ids(examples, [outcome.chest_wall for outcome in scored]),
        calibration=card.calibration,
    )
    evaluation = evaluate_scores(
        images,
        groups=_groups(scored),
        thresholds=_thresholds(card),
        scales=scales_of(card),
        resamples=resamples,
    )
    return Assessment(
        evaluation=evaluation,
        model_version=card.version,
        split=split,
        refused=Counter(sorted(outcome.code for outcome in refused)),
        patients_known=all(outcome.example.patient_known for outcome in outcomes),
        shared_patients=_shared_patients(dataset, split),
        leaky_training=bool(card.training.get("data", {}).get("leaky")),
        with_age=_with_age(images, examples, card, resamples),
    )


def with_shortcuts(
    assessment: Assessment,
    outcomes: Sequence[ScoredExample | RefusedExample],
    others: Sequence[Appearance],
) -> Assessment:
    """Add the AUC of shortcuts, which ignore the tissue, fitted to the images of `others`."""
    from mammoscope.evaluation.shortcuts import measure_shortcuts

    scored = [
        Appearance(each.example, each.features)
        for each in outcomes
        if isinstance(each, ScoredExample)
    ]
    return replace(assessment, shortcuts=measure_shortcuts(scored, others))


def _with_age(
    images: Scored, examples: Sequence[Example], card: Card, resamples: int
) -> Evaluation | None:
    """Evaluate probabilities that use the age; None if there is too little data."""
    if card.age_calibration is None:
        return None
    return evaluate_with_age(
        images,
        [example.facts.age for example in examples],
        card.age_calibration,
        thresholds=_thresholds(card),
        resamples=resamples,
    )


def _thresholds(card: Card) -> dict[str, float]:
    return {name: point.threshold for name, point in card.operating_points.items()}


def map_ahead(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None
) -> Iterator[Result]:
    """Apply `work` in threads, a few items ahead of the caller; yields results in order.

    If the caller stops early, items not yet started are dropped.
    """
    count = workers or min(8, os.cpu_count() or 1)
    ahead: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(count)
    try:
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) > 2 * count:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _groups(scored: Sequence[ScoredExample]) -> dict[str, list[str | None]]:
    """Value of each fact for each image; facts without any known value are left out."""
    facts = [outcome.example.facts for outcome in scored]
    groups: dict[str, list[str | None]] = {
        "machine": [each.machine_id for each in facts],
        "site": [each.site_id for each in facts],
        "view": [each.view for each in facts],
        "laterality": [each.laterality for each in facts],
        "density": [each.density for each in facts],
        "age": [_age_band(each.age) for each in facts],
    }
    if not any(groups["machine"]) and len(scored) >= _FEWEST_FOR_SCANNER_GROUPS:
        groups["look"] = list(group_by_scanner([outcome.features for outcome in scored]))
    known = {fact: values for fact, values in groups.items() if any(values)}
    return known | {"background": ["bright" if outcome.inverted else "dark" for outcome in scored]}


def _age_band(age: float | None) -> str | None:
    if age is None:
        return None
    band = bisect(_AGE_BANDS, age)
    if band == len(_AGE_BANDS):
        return f"{_AGE_BANDS[-1]} and over"
    return f"{(0, *_AGE_BANDS)[band]} to {_AGE_BANDS[band] - 1}"


def _shared_patients(dataset: Dataset, split: str) -> int:
    here, elsewhere = (
        {e.patient_id for e in dataset.examples if e.patient_known and (e.split == split) is same}
        for same in (True, False)
    )
    return len(here & elsewhere)
