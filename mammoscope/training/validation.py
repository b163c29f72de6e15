"""Measures of the validation images after every epoch, without intervals."""

from collections import defaultdict
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mammoscope.evaluation.metrics.assessment import MIN_PER_CLASS
from mammoscope.evaluation.metrics.measures import Measures
from mammoscope.evaluation.metrics.scored import Scored
from mammoscope.training.batches import PreprocessedExamples

History = list[dict[str, Any]]

_NAMES: Final = {"loss": "log_loss", "accuracy": "accuracy", "auc": "auc"}


def scored(preprocessed: PreprocessedExamples, logits: npt.NDArray[np.float32]) -> Scored:
    """Combine logits, float32 (N,), with the labels, patients and breasts of their images."""
    return Scored.of(
        [example.label for example in preprocessed.examples],
        logits,
        patients=[example.patient_id for example in preprocessed.examples],
        breasts=preprocessed.breasts,
    )


def measure(
    preprocessed: PreprocessedExamples, logits: npt.NDArray[np.float32]
) -> dict[str, float]:
    """Loss, accuracy and AUC by image; AUC by breast; mean AUC within scanners, if known."""
    images = scored(preprocessed, logits)
    values = _points(images)
    measured = {name: values[key] for name, key in _NAMES.items()}
    measured["breast_auc"] = _points(images.by_breast())["auc"]
    machines = [example.facts.machine_id for example in preprocessed.examples]
    within = _mean_auc_within(images, machines)
    if within is not None:
        measured["within_machine_auc"] = within
    return measured


def _points(images: Scored) -> dict[str, float]:
    ones = np.ones((1, images.labels.size))
    return {name: float(value[0]) for name, value in Measures(images)(ones).items()}


def _mean_auc_within(images: Scored, groups: list[str | None]) -> float | None:
    """Mean AUC of the groups that have enough images of both classes."""
    members = defaultdict(list)
    for index, group in enumerate(groups):
        if group is not None:
            members[group].append(index)
    aucs = []
    for indices in members.values():
        labels = images.labels[indices]
        if min(labels.sum(), (1 - labels).sum()) >= MIN_PER_CLASS:
            aucs.append(_points(Scored.of(labels, images.logits[indices]))["auc"])
    return float(np.mean(aucs)) if aucs else None
