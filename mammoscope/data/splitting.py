"""Split and fold by patient: splits that share a patient cannot be constructed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from mammoscope.data.dataset import Example, require_both_classes
from mammoscope.data.split_table import hashed
from mammoscope.errors import EmptyDatasetError, LeakageError, MetadataError


def shared_patients(first: Sequence[Example], second: Sequence[Example]) -> set[str]:
    """Patients in both parts."""
    return {example.patient_id for example in first} & {example.patient_id for example in second}


@dataclass(frozen=True, slots=True)
class PatientSplit:
    """Examples for training, validation and the final test.

    Raises
    ------
    LeakageError
        If a patient is in two parts.
    """

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...] = ()

    def __post_init__(self) -> None:
        for one, other in combinations(("train", "validation", "test"), 2):
            if shared := shared_patients(getattr(self, one), getattr(self, other)):
                raise LeakageError(
                    f"{len(shared)} patients would be in both {one} and {other}; "
                    "each may be in one part only."
                )


def folds(
    examples: Sequence[Example],
    count: int,
    seed: int,
    stratum: Callable[[Example], Any] = lambda example: example.label,
) -> Iterator[tuple[tuple[Example, ...], tuple[Example, ...]]]:
    """Divide examples `count` times into a large and a small part, stratified and by patient.

    Parameters
    ----------
    examples
        The examples to divide.
    count
        Number of divisions.
    seed
        Seed of the divisions.
    stratum
        Group of an example; all parts get similar shares of it, as far as patients stay whole.

    Yields
    ------
    tuple
        The large part, then the small one; every example is in exactly one small part.

    Raises
    ------
    EmptyDatasetError
        If there are fewer patients than folds.
    SingleClassError
        If only one label is present.
    """
    require_both_classes(examples, "a split")
    patients = [example.patient_id for example in examples]
    if len(set(patients)) < count:
        raise EmptyDatasetError(
            f"{len(set(patients))} patients cannot be divided into {count} parts."
        )
    # Sorted, so that the split does not depend on the order in which a file system lists folders.
    order = sorted(range(len(examples)), key=lambda i: (patients[i], examples[i].path.name))
    strata = np.array([stratum(examples[i]) for i in order])
    groups = np.array([patients[i] for i in order])
    divider = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
    for large, small in divider.split(strata, strata, groups):
        yield (
            tuple(examples[order[i]] for i in large),
            tuple(examples[order[i]] for i in small),
        )


def split_off(
    examples: Sequence[Example], fraction: float, seed: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Divide examples once, stratified and by patient.

    Parameters
    ----------
    examples
        The examples to divide.
    fraction
        Desired share of the second part, in (0, 0.5]; approximate, because patients stay whole.
    seed
        Seed of the division.

    Raises
    ------
    EmptyDatasetError, SingleClassError
        As in `folds`.
    """
    return next(folds(examples, max(2, round(1.0 / fraction)), seed))


def leave_out(
    examples: Sequence[Example], table: Mapping[str, int], fold: int, test: Sequence[Example]
) -> PatientSplit:
    """Use `fold` for validation and the other folds for training.

    Parameters
    ----------
    examples
        Images of patients in the table.
    table
        Fold by hashed patient, from `mammoscope.data.fold_table.read_folds`.
    fold
        Number of the fold, counted from 1.
    test
        Images used neither for training nor for validation.

    Raises
    ------
    MetadataError
        If the table lacks a patient, or has no such fold.
    LeakageError
        If a patient is both in `examples` and in `test`.
    """
    fold_of = {e.patient_id: table.get(hashed(e.patient_id)) for e in examples}
    if missing := sum(number is None for number in fold_of.values()):
        raise MetadataError(f"The table of folds lacks {missing} patients of the data set.")
    if fold not in fold_of.values():
        raise MetadataError(f"No patient of the data set is in fold {fold} of the table.")
    return PatientSplit(
        train=tuple(e for e in examples if fold_of[e.patient_id] != fold),
        validation=tuple(e for e in examples if fold_of[e.patient_id] == fold),
        test=tuple(test),
    )
