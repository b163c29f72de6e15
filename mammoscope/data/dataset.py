"""Folders of mammograms to examples that know their patient.

The layout is that of the Kaggle set ``hayder17/breast-cancer-detection``: ``train/``, ``valid/``
and ``test/``, each with ``0/`` (no tumour) and ``1/`` (tumour); a folder with just ``0/`` and
``1/`` is a data set without splits. Nothing is moved: merging valid into train is a matter of
reading.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mammoscope.errors import (
    DatasetNotFoundError,
    EmptyDatasetError,
    MetadataError,
    SingleClassError,
)
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.imaging.reading import IMAGE_SUFFIXES, is_image_name

SPLITS: Final = ("train", "valid", "test")
LABELS: Final = (0, 1)
METADATA_NAME: Final = "metadata.csv"
"""A table of this name in the data set's folder is found by itself."""

_REQUIRED_COLUMNS: Final = ("file", "patient_id")

# <patient_id>_<image_id>_png.rf.<hash>.jpg, as Roboflow exported the Kaggle set.
_KAGGLE_NAME: Final = re.compile(r"(?P<patient>\d+)_(?P<image>\d+)_png\.rf\.[0-9a-f]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a table of metadata says of an image; None where it does not.

    ``age`` is in years, ``density`` the BI-RADS category A to D, ``birads`` the assessment 0 to 6.
    """

    laterality: Laterality | None = None
    view: View | None = None
    age: float | None = None
    density: str | None = None
    birads: int | None = None
    invasive: bool | None = None
    implant: bool | None = None
    site_id: str | None = None
    machine_id: str | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """One image of a data set.

    Parameters
    ----------
    path
        Where the image lies.
    label
        0 (no tumour) or 1 (tumour): the reference standard.
    split
        ``train``, ``valid`` or ``test``; empty in a folder without splits.
    patient_id, image_id
        From the metadata, else from the file's name. Where neither knows the patient, the file
        stands for one and `patient_known` is False.
    """

    path: Path
    label: int
    split: str
    patient_id: str
    image_id: str
    patient_known: bool
    facts: Facts = field(default=Facts())


@dataclass(frozen=True, slots=True)
class Dataset:
    """Examples in a fixed order, by split, label and file name."""

    root: Path
    examples: tuple[Example, ...]
    has_metadata: bool

    @property
    def patients_known(self) -> bool:
        """Whether every image's patient is known, so that leakage can be excluded."""
        return all(example.patient_known for example in self.examples)

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that hold images, in the order of `SPLITS`; empty without splits."""
        present = {example.split for example in self.examples}
        return tuple(split for split in SPLITS if split in present)

    def split(self, *names: str) -> tuple[Example, ...]:
        """Examples of the named splits."""
        return tuple(example for example in self.examples if example.split in names)


def read_dataset(root: Path, metadata: Path | None = None) -> Dataset:
    """List a folder of mammograms.

    Parameters
    ----------
    root
        Folder with ``train/``, ``valid/``, ``test/`` (any of them), each with ``0/`` and ``1/``;
        or folder with ``0/`` and ``1/``.
    metadata
        CSV with columns ``file`` and ``patient_id`` and, where known, ``laterality``, ``view``,
        ``age``, ``density``, ``BIRADS``, ``invasive``, ``implant``, ``site_id``, ``machine_id``.
        Where None, `METADATA_NAME` in `root` is taken if it is there.

    Raises
    ------
    DatasetNotFoundError
        If `root` is missing, is no folder or cannot be listed.
    EmptyDatasetError
        If no image lies where images are expected.
    MetadataError
        If the table lacks a column, contradicts itself or the labels, or misses an image.
    """
    if not _is_folder(root):
        raise DatasetNotFoundError("There is no such folder.")
    split_folders = [(split, root / split) for split in SPLITS if _is_folder(root / split)]
    found = [
        (split, label, path)
        for split, folder in split_folders or [("", root)]
        for label in LABELS
        for path in list_images(folder / str(label))
    ]
    if not found:
        raise EmptyDatasetError(
            "The folder holds no images in 0/ and 1/, nor in train/, valid/ or test/ with 0/ "
            f"and 1/ in them; image files end in {', '.join(IMAGE_SUFFIXES)}."
        )
    table_path = metadata or (root / METADATA_NAME if (root / METADATA_NAME).is_file() else None)
    table = _read_table(table_path) if table_path else None
    examples = tuple(_example(*entry, table) for entry in found)
    return Dataset(root=root, examples=examples, has_metadata=table is not None)


def list_images(folder: Path) -> list[Path]:
    """Image files directly in `folder`, by name; none where there is no such folder.

    Raises
    ------
    DatasetNotFoundError
        If the folder is there and cannot be listed.
    """
    if not _is_folder(folder):
        return []
    try:
        return sorted(path for path in folder.iterdir() if is_image_name(path))
    except OSError as err:
        raise DatasetNotFoundError("A folder of the data set cannot be listed.") from err


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as err:  # a folder above it may not be entered
        raise DatasetNotFoundError("A folder of the data set cannot be entered.") from err


def require_both_classes(examples: Iterable[Example], purpose: str) -> None:
    """Refuse examples that all have one label.

    Raises
    ------
    SingleClassError
        If a label is missing; `purpose` names what the examples are for.
    """
    present = {example.label for example in examples}
    if len(present) < len(LABELS):
        held = ", ".join(str(label) for label in sorted(present)) or "none"
        raise SingleClassError(f"The images for {purpose} need labels 0 and 1; found: {held}.")


def breast_ids(examples: Sequence[Example], chest_walls: Sequence[str | None]) -> list[str]:
    """A name for the breast of each image.

    Parameters
    ----------
    examples
        The images.
    chest_walls
        Side of each image on which the chest wall lies, None where unknown; used only where
        the laterality is not known. It groups the views of a breast and is no claim about left
        or right: some scanners' images are mirrored.
    """
    return [
        f"{example.patient_id}/{example.facts.laterality or chest_wall or 'unknown'}"
        for example, chest_wall in zip(examples, chest_walls, strict=True)
    ]


def _read_table(path: Path) -> Mapping[str, Mapping[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in _REQUIRED_COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise MetadataError(
                    f"The table of metadata lacks the column {' and '.join(missing)}; it needs "
                    f"{' and '.join(_REQUIRED_COLUMNS)}."
                )
            table: dict[str, Mapping[str, str]] = {}
            for row in reader:
                name = Path(row["file"] or "").name
                if name in table:
                    raise MetadataError("The table of metadata names a file twice.")
                table[name] = {key: value or "" for key, value in row.items() if key is not None}
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise MetadataError("The table of metadata cannot be read as CSV in UTF-8.") from err
    return table


def _example(
    split: str, label: int, path: Path, table: Mapping[str, Mapping[str, str]] | None
) -> Example:
    named = _KAGGLE_NAME.match(path.name)
    row = table.get(path.name) if table is not None else None
    if table is not None and row is None:
        raise MetadataError("The table of metadata misses an image of the data set.")
    if row and row.get("label") and row["label"] != str(label):
        raise MetadataError("The table of metadata contradicts the label of an image's folder.")
    patient = row["patient_id"] if row else (named["patient"] if named else "")
    image = (row or {}).get("image_id") or (named["image"] if named else path.stem)
    return Example(
        path=path,
        label=label,
        split=split,
        # Equal names in two folders are two images, hence two patients.
        patient_id=patient or f"{split}/{label}/{path.name}",
        image_id=image,
        patient_known=bool(patient),
        facts=_facts(row) if row else Facts(),
    )


def _facts(row: Mapping[str, str]) -> Facts:
    try:
        return Facts(
            laterality=Laterality(row["laterality"]) if row.get("laterality") else None,
            view=View(row["view"]) if row.get("view") in list(View) else None,
            age=_number(row.get("age")),
            density=row.get("density") or None,
            birads=_whole(row.get("BIRADS")),
            invasive=_flag(row.get("invasive")),
            implant=_flag(row.get("implant")),
            site_id=row.get("site_id") or None,
            machine_id=row.get("machine_id") or None,
        )
    except ValueError as err:
        raise MetadataError(
            "The table of metadata holds a value that is not allowed: laterality is L or R; age "
            "and BIRADS are numbers; invasive and implant are 0 or 1."
        ) from err


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def _whole(text: str | None) -> int | None:
    return int(float(text)) if text else None


def _flag(text: str | None) -> bool | None:
    return bool(int(float(text))) if text else None
