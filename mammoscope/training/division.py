"""Which images a run learns from, is validated on, and keeps for the one test at the end."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mammoscope.data.dataset import Dataset, read_dataset
from mammoscope.data.ddsm import read_ddsm
from mammoscope.data.lesions import read_lesions
from mammoscope.data.splitting import PatientSplit, leave_out, shared_patients, split_off
from mammoscope.errors import EmptyDatasetError
from mammoscope.settings.training import TrainConfig

_TEST_FRACTION: Final = 0.15


@dataclass(frozen=True, slots=True)
class DividedData:
    """A split by patient, and the facts about it that the reports show."""

    split: PatientSplit
    facts: Mapping[str, Any]


def read_examples(config: TrainConfig, data: Path, metadata: Path | None = None) -> Dataset:
    """List the images in `data` by the layout that a run's configuration names.

    Raises
    ------
    DatasetError
        If they cannot be listed.
    """
    if config.layout == "folders":
        return read_dataset(data, metadata, config.labels)
    if config.layout == "lesions":
        return read_lesions(data)
    return read_ddsm(data, cancers_only=config.layout == "ddsm-cancers")


def divide(
    dataset: Dataset, config: TrainConfig, folds: Mapping[str, int] | None = None
) -> DividedData:
    """Merge train and valid, keep test apart, and split validation off, all by patient.

    Where the published test folder shares patients with the rest, everything is divided anew,
    unless the configuration asks for the published split: then the test folder stays out of this
    run altogether, and the split is called leaky wherever it is reported.

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
        raise EmptyDatasetError("There is nothing to train on: only test/ holds images.")
    leaked = shared_patients(pool, published_test)
    kind = "published" if published_test else "by patient, no published test folder"
    test = published_test
    if leaked and config.split == "patients" and config.fold is None:
        kind = "divided anew by patient"
        pool, test = split_off(dataset.examples, _TEST_FRACTION, config.seed)
    leaky = bool(leaked) and config.split == "published"
    if config.layout == "lesions":
        split = PatientSplit(dataset.split("train"), dataset.split("heldout"))
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
                    ("validation", split.validation),
                    ("test", test),
                )
            },
        },
    )


def sentences(facts: Mapping[str, Any]) -> list[str]:
    """What a person should know about a division before the training, one sentence each."""
    said = []
    if facts["leaky"]:
        said.append(
            f"LEAKY split: {facts['shared_patients']} patients stand in the published test folder "
            "and in train or valid; use results for like-for-like comparison only."
        )
    elif facts["shared_patients"]:
        said.append(
            f"The published test folder shares {facts['shared_patients']} patients with train and "
            "valid, so everything was divided anew by patient (split.csv); --split published "
            "keeps the published folders."
        )
    if not facts["patients_known"]:
        said.append(
            "Some images name no patient: each counts as one of its own, and leakage cannot be "
            "excluded. Give the patients with --metadata."
        )
    return said
