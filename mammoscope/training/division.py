"""Divide a data set into training, validation and test images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mammoscope.data.dataset import Dataset, read_dataset
from mammoscope.data.lesions import read_lesions
from mammoscope.data.splitting import PatientSplit, leave_out, shared_patients, split_off
from mammoscope.errors import EmptyDatasetError
from mammoscope.settings.training import TrainConfig

_TEST_FRACTION: Final = 0.15


@dataclass(frozen=True, slots=True)
class DividedData:
    """A split by patient, with its facts for the reports."""

    split: PatientSplit
    facts: Mapping[str, Any]


def read_examples(config: TrainConfig, data: Path, metadata: Path | None = None) -> Dataset:
    """List the images in `data`, in the layout named by a run's configuration.

    Raises
    ------
    DatasetError
        If they cannot be listed.
    """
    if config.layout == "lesions":
        return read_lesions(data)
    return read_dataset(data, metadata, config.labels)


def divide(
    dataset: Dataset, config: TrainConfig, folds: Mapping[str, int] | None = None
) -> DividedData:
    """Merge train and valid, keep test apart, and split off validation, all by patient.

    If the published test folder shares patients with the rest, everything is divided anew. With the
    option for the published split, the test folder is left out of this run instead, and every
    report calls the split leaky.

    Parameters
    ----------
    dataset, config
        What is divided, and how.
    folds
        Fold by hashed patient, for a configuration with a fold.

    Raises
    ------
    DatasetError
        If the images cannot be divided in this way, or do not fit the folds.
    """
    published_test = dataset.split("test")
    pool = tuple(e for e in dataset.examples if e.split != "test")
    if not pool:
        raise EmptyDatasetError("There is nothing to train on: only test/ has images.")
    leaked = shared_patients(pool, published_test)
    kind = "published" if published_test else "by patient, no published test folder"
    test = published_test
    in_folds = config.fold is not None or bool(config.calibrated_on)
    if leaked and config.split == "patients" and not in_folds:
        kind = "divided anew by patient"
        pool, test = split_off(dataset.examples, _TEST_FRACTION, config.seed)
    leaky = bool(leaked) and config.split == "published"
    if config.layout == "lesions":
        split = PatientSplit(dataset.split("train"), dataset.split("heldout"))
    elif config.calibrated_on:
        kind = f"patients of all folds, measured by {config.measured_by}"
        split = PatientSplit(pool, (), test)
    elif config.fold is None:
        train_part, validation = split_off(pool, config.validation_fraction, config.seed)
        split = PatientSplit(train_part, validation, () if leaky else test)
    else:
        kind = f"fold {config.fold}"
        split = leave_out(pool, folds or {}, config.fold, test)
    return DividedData(
        split=split,
        facts={
            "kind": kind,
            "leaky": leaky,
            "shared_patients": len(leaked),
            "patients_known": dataset.patients_known,
            "seed": config.seed,
            **{
                name: {
                    "images": len(part),
                    "patients": len({e.patient_id for e in part}),
                    "positives": sum(e.label for e in part),
                }
                for name, part in (
                    ("train", split.train),
                    ("validation", split.validation or pool),
                    ("test", test),
                )
            },
        },
    )


def sentences(facts: Mapping[str, Any]) -> list[str]:
    """Describe a division before training, one sentence per item."""
    said = []
    if facts["leaky"]:
        said.append(
            f"LEAKY split: {facts['shared_patients']} patients are in the published test folder "
            "and in train or valid. Use results only to compare models trained in the same way."
        )
    elif facts["shared_patients"]:
        said.append(
            f"The published test folder shares {facts['shared_patients']} patients with train and "
            "valid, so everything was divided anew by patient (split.csv). To keep the published "
            "folders, use --split published."
        )
    if not facts["patients_known"]:
        said.append(
            "Some images name no patient: each counts as a patient, and leakage cannot be "
            "excluded. Name the patients with --metadata."
        )
    return said
