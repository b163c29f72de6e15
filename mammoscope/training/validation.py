"""What is measured on the validation pictures after every epoch: points, no intervals."""

from collections import defaultdict
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mammoscope.evaluation.metrics import MIN_PER_CLASS, Measures, Scored
from mammoscope.training.batches import PreparedExamples

History = list[dict[str, Any]]

_NAMES: Final = {"loss": "log_loss", "accuracy": "accuracy", "auc": "auc"}


def scored(prepared: PreparedExamples, logits: npt.NDArray[np.float32]) -> Scored:
    """Logits, float32 (N,), beside the labels, patients and breasts of prepared pictures."""
    return Scored.of(
        [example.label for example in prepared.examples],
        logits,
        patients=[example.patient_id for example in prepared.examples],
        breasts=prepared.breasts,
    )


def measure(prepared: PreparedExamples, logits: npt.NDArray[np.float32]) -> dict[str, float]:
    """Loss, accuracy and AUC by picture; AUC by breast; mean AUC within scanners where known."""
    pictures = scored(prepared, logits)
    values = _points(pictures)
    measured = {name: values[key] for name, key in _NAMES.items()}
    measured["breast_auc"] = _points(pictures.by_breast())["auc"]
    machines = [example.facts.machine_id for example in prepared.examples]
    within = _mean_auc_within(pictures, machines)
    if within is not None:
        measured["within_machine_auc"] = within
    return measured


def _points(pictures: Scored) -> dict[str, float]:
    ones = np.ones((1, pictures.labels.size))
    return {name: float(value[0]) for name, value in Measures(pictures)(ones).items()}


def _mean_auc_within(pictures: Scored, groups: list[str | None]) -> float | None:
    """Mean of the AUCs inside the groups that have enough pictures of both classes."""
    members = defaultdict(list)
    for index, group in enumerate(groups):
        if group is not None:
            members[group].append(index)
    aucs = []
    for indices in members.values():
        labels = pictures.labels[indices]
        if min(labels.sum(), (1 - labels).sum()) >= MIN_PER_CLASS:
            aucs.append(_points(Scored.of(labels, pictures.logits[indices]))["auc"])
    return float(np.mean(aucs)) if aucs else None
