"""The split table in a training run's folder: which image was used for what."""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mammoscope.data.dataset import Example
from mammoscope.errors import MetadataError, StorageError
from mammoscope.system import schema
from mammoscope.system.files import replacing

SPLIT_NAME: Final = "split.csv"
"""The table's name."""

SPLIT_SCHEMA: Final = 2
"""Schema of new tables; tables of schema 1 lack the column ``schema``."""

_ID_DIGITS: Final = 12


def hashed(name: str) -> str:
    """Name a patient or a breast in public: the first 12 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(name.encode()).hexdigest()[:_ID_DIGITS]


@dataclass(frozen=True, slots=True)
class SplitRow:
    """A row of a split table.

    Parameters
    ----------
    file
        Name of the image, as `Example.name`.
    patient_id
        The image's patient.
    part
        ``train``, ``validation`` or ``test``.
    """

    file: str
    patient_id: str
    part: str


def write_split(run: Path, parts: Mapping[str, Sequence[Example]]) -> None:
    """Write a table of the images in each named part to a run's folder.

    Raises
    ------
    StorageError
        If the folder cannot be written to.
    """
    lines = [f"file,label,patient_id,part,{schema.KEY}"]
    for name, part in parts.items():
        lines += [f"{e.name},{e.label},{e.patient_id},{name},{SPLIT_SCHEMA}" for e in part]
    try:
        with replacing(run / SPLIT_NAME) as target:
            target.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
    except OSError as err:
        raise StorageError(f"The run's {SPLIT_NAME} cannot be written.") from err


def read_split(run: Path) -> tuple[SplitRow, ...]:
    """Read a table written by `write_split`.

    Raises
    ------
    MetadataError
        If the folder has no readable table, or one from a newer version of Mammoscope.
    """
    try:
        with (run / SPLIT_NAME).open(
            newline="", encoding="utf-8", errors="surrogateescape"
        ) as stream:
            rows = list(csv.DictReader(stream))
        for row in rows[:1]:
            schema.require_known(row.get(schema.KEY), SPLIT_SCHEMA, SPLIT_NAME)
        return tuple(SplitRow(row["file"], row["patient_id"], row["part"]) for row in rows)
    except schema.SchemaError as err:
        raise MetadataError(str(err)) from err
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as err:
        name = run.resolve().name
        raise MetadataError(f"The training run {name} has no readable {SPLIT_NAME}.") from err
