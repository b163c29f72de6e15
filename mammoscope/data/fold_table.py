"""The committed table of folds: the validation patients of each fold's run.

All comparisons of networks use this table, so that two runs of a fold predict the same patients.
Patients have hashed names, as in the records of runs.
"""

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from mammoscope.data.dataset import Example
from mammoscope.data.split_table import hashed
from mammoscope.errors import MetadataError, StorageError
from mammoscope.system.files import replacing

FOLDS_TABLE: Final = Path("model") / "experiments" / "folds.csv"
FOLDS: Final = 5
_SEED: Final = 0


def assign_folds(examples: Sequence[Example]) -> dict[str, int]:
    """Divide patients into `FOLDS` folds, stratified by machine and label.

    Parameters
    ----------
    examples
        Images for training and validation, without the test folder.

    Returns
    -------
    dict
        Fold, counted from 1, by hashed patient; independent of the order of the images.

    Raises
    ------
    EmptyDatasetError
        If there are fewer patients than folds.
    SingleClassError
        If only one label is present.
    """
    from mammoscope.data.splitting import folds  # imports scikit-learn

    with warnings.catch_warnings():
        # Some machines have fewer images of a label than there are folds.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        parts = folds(examples, FOLDS, _SEED, lambda e: f"{e.facts.machine_id}/{e.label}")
        return {
            hashed(example.patient_id): fold
            for fold, (_, left_out) in enumerate(parts, start=1)
            for example in left_out
        }


def write_folds(table: Mapping[str, int], path: Path) -> None:
    """Write the table, with one line per patient in the order of the hashes.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    lines = [f"{patient},{fold}" for patient, fold in sorted(table.items())]
    try:
        with replacing(path) as target:
            target.write_text("\n".join(["patient,fold", *lines]) + "\n", encoding="utf-8")
    except OSError as err:
        raise StorageError("The table of folds cannot be written.") from err


def read_folds(path: Path) -> dict[str, int]:
    """Read a table from `write_folds`.

    Raises
    ------
    MetadataError
        If the table is missing or damaged, or has a patient twice.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [(row["patient"], int(row["fold"])) for row in csv.DictReader(stream)]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as err:
        raise MetadataError("The table of folds is missing or damaged.") from err
    table = dict(rows)
    if len(table) < len(rows):
        raise MetadataError("The table of folds has a patient twice.")
    return table
