"""Read the DDSM images as a data set for warming up a network.

Digital Database for Screening Mammography (University of South Florida), for research use only. An
image has label 1 if a radiologist outlined a malignant lesion in it. The label of a folder is that
of the case, whose other breast may be healthy.
"""

import csv
from pathlib import Path
from typing import Final

from mammoscope.data.dataset import METADATA_NAME, Dataset, Example, Facts
from mammoscope.errors import DatasetNotFoundError, MetadataError
from mammoscope.imaging.mammogram import View

_COLUMNS: Final = ("file", "case", "scanner", "laterality", "view", "outlined", "pathology")


_CANCERS: Final = "cancers/"
"""Folder of the cases with cancer."""


def read_ddsm(root: Path, *, cancers_only: bool) -> Dataset:
    """List the images named by ``metadata.csv`` in `root`.

    Cases serve as patients and scanners as machines. The table's side is ignored, because the
    images of some scanners are mirrored.

    Parameters
    ----------
    root
        Folder with the table.
    cancers_only
        Whether to leave out cases without cancer. Those were digitised by other scanners in other
        proportions, so a network could recognise them without seeing a lesion. Within the others,
        the breast with the outline is compared with the other breast.

    Raises
    ------
    DatasetNotFoundError
        If the folder has no table.
    MetadataError
        If the table lacks a column.
    """
    try:
        with (root / METADATA_NAME).open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise MetadataError(f"The DDSM metadata table lacks {', '.join(missing)}.")
            rows = sorted(reader, key=lambda row: row["file"])
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise DatasetNotFoundError(
            "The folder has no readable DDSM metadata table, metadata.csv."
        ) from err
    return Dataset(
        root=root,
        examples=tuple(
            _example(root, row)
            for row in rows
            if not cancers_only or row["file"].startswith(_CANCERS)
        ),
        has_metadata=True,
    )


def _example(root: Path, row: dict[str, str]) -> Example:
    malignant = row["outlined"] == "1" and row["pathology"] == "MALIGNANT"
    return Example(
        path=root / row["file"],
        label=int(malignant),
        split="train",
        patient_id=row["case"],
        image_id=row["file"],
        patient_known=True,
        facts=Facts(
            view=View(row["view"]) if row["view"] in list(View) else None,
            machine_id=row["scanner"] or None,
        ),
    )
