"""Read folders of mammograms into examples with their patients.

The layout is that of the Kaggle data set ``hayder17/breast-cancer-detection``: ``train/``,
``valid/`` and ``test/``, each with ``0/`` (no tumour) and ``1/`` (tumour). A folder with just
``0/`` and ``1/`` is a data set without splits. ``val/`` and ``validation/`` count as ``valid/``,
case is ignored, and folders below the labels belong to them. Nothing is moved: valid is merged into
train while reading.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final, NoReturn

from mammoscope.errors import (
    DatasetNotFoundError,
    EmptyDatasetError,
    MetadataError,
    SingleClassError,
)
from mammoscope.imaging.image_files import IMAGE_SUFFIXES, walk_images
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.imaging.metadata import Row, composed, match_rows, read_table

SPLITS: Final = ("train", "valid", "test")
ALL_SPLITS: Final = "all"
LABELS: Final = (0, 1)
LABEL_FOLDERS: Final = ("0", "1")
"""Default names of the folders with the images of label 0 and of label 1."""
METADATA_NAME: Final = "metadata.csv"
"""A table of this name in the data set's folder is used automatically."""

_SPLIT_FOLDERS: Final = {
    **{split: split for split in SPLITS},
    "training": "train",
    "val": "valid",
    "validation": "valid",
    "testing": "test",
}
_REQUIRED_COLUMNS: Final = ("file", "patient_id")
_MOST_FOLDERS: Final = 8
"""Number of ignored folders to name; the others are counted."""

# <patient_id>_<image_id>_png.rf.<hash>.jpg, as Roboflow exported the Kaggle set.
_KAGGLE_NAME: Final = re.compile(r"(?P<patient>\d+)_(?P<image>\d+)_png\.rf\.[0-9a-f]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about an image from the metadata table; None if missing.

    ``age`` is in years, ``density`` is the BI-RADS category A to D, and ``birads`` the assessment 0
    to 6.
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
        Path of the image.
    label
        0 (no tumour) or 1 (tumour): the reference standard.
    split
        ``train``, ``valid`` or ``test``; empty in a folder without splits.
    patient_id, image_id
        From the metadata, else from the file's name. If neither has the patient, the file counts as
        a patient and `patient_known` is False.
    """

    path: Path
    label: int
    split: str
    patient_id: str
    image_id: str
    patient_known: bool
    facts: Facts = field(default=Facts())
    file: str = ""
    """Path below the data set's folder; only if another image has the same name."""

    @property
    def name(self) -> str:
        """Unique name of the image in the data set: the file's name, or its path if ambiguous."""
        return self.file or self.path.name


@dataclass(frozen=True, slots=True)
class Dataset:
    """Examples in a fixed order: by split, label and file name.

    Parameters
    ----------
    root
        The folder.
    examples
        Its images.
    has_metadata
        Whether there is a metadata table.
    ignored
        Number of images in folders that are not a label's, by folder.
    """

    root: Path
    examples: tuple[Example, ...]
    has_metadata: bool
    ignored: Mapping[str, int] = field(default_factory=dict)

    @property
    def patients_known(self) -> bool:
        """Whether every image's patient is known, so that leakage can be excluded."""
        return all(example.patient_known for example in self.examples)

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that have images, in the order of `SPLITS`; empty without splits."""
        present = {example.split for example in self.examples}
        return tuple(split for split in SPLITS if split in present)

    def split(self, *names: str) -> tuple[Example, ...]:
        """Return the examples of the named splits."""
        return tuple(example for example in self.examples if example.split in names)


def read_dataset(
    root: Path, metadata: Path | None = None, labels: tuple[str, str] = LABEL_FOLDERS
) -> Dataset:
    """List a folder of mammograms.

    Parameters
    ----------
    root
        Folder with any of ``train/``, ``valid/`` and ``test/``, each with ``0/`` and ``1/``; or
        folder with ``0/`` and ``1/``. Images in other folders are counted as ignored. A folder
        without label folders needs the column ``label`` in its table.
    metadata
        CSV file with columns ``file`` and ``patient_id`` and, if known, ``laterality``, ``view``,
        ``age``, ``density``, ``BIRADS``, ``invasive``, ``implant``, ``site_id``, ``machine_id``,
        ``label`` (0 or 1, or one of `labels`).
        None uses `METADATA_NAME` in `root`, if it exists, in upper or lower case. ``file`` is a
        file's name, or its path below the folder if names repeat.
    labels
        Names of the folders used instead of ``0/`` and ``1/``, as in ``benign, malignant``.

    Raises
    ------
    DatasetNotFoundError
        If `root` is missing, is not a folder or cannot be listed.
    EmptyDatasetError
        If there are no images in the expected folders.
    MetadataError
        If the table lacks a column, has an invalid value, contradicts itself or the labels, or
        lacks an image.
    """
    if not _is_folder(root):
        raise DatasetNotFoundError("The folder does not exist.").at(root)
    table = metadata or _table_in(root)
    rows = read_table(table, _REQUIRED_COLUMNS) if table else ()
    found, ignored = _locate(root, labels)
    if not found and any(row.text("label") for row in rows):
        found, ignored = _labelled_by(rows, root, labels), {}
    if not found:
        raise EmptyDatasetError(_what_is_there(ignored, labels)).at(root)
    files = [PurePosixPath(each.path.relative_to(root).as_posix()) for each in found]
    matched = _match_table(rows, found, files, labels) if table else {}
    names = Counter(file.name for file in files)
    examples = tuple(
        _example(each, file, matched.get(file), is_unique=names[file.name] == 1)
        for each, file in zip(found, files, strict=True)
    )
    return Dataset(root=root, examples=examples, has_metadata=table is not None, ignored=ignored)


def describe_ignored(ignored: Mapping[str, int]) -> list[str]:
    """Describe the ignored folders in a sentence; empty if there are none."""
    if not ignored:
        return []
    total = sum(ignored.values())
    places = [
        f"{f'{count:,} ' if len(ignored) > 1 else ''}in {folder}/"
        for folder, count in list(ignored.items())[:_MOST_FOLDERS]
    ]
    more = len(ignored) - len(places)
    rest = f" and {more} more folders" if more else ""
    return [
        f"Ignored {total:,} image{'s' * (total != 1)} outside the label folders "
        f"({', '.join(places)}{rest}). --labels NAME,NAME names the folders of labels 0 and 1."
    ]


@dataclass(frozen=True, slots=True)
class _Found:
    """An image with the label and split of its folders; ``split`` is empty without splits.

    ``below`` is its path below these folders.
    """

    split: str
    label: int
    path: Path
    below: str


def _locate(root: Path, labels: tuple[str, str]) -> tuple[list[_Found], dict[str, int]]:
    """Find split and label of each image, and count unlabelled images by folder."""
    names = [_plain(name) for name in labels]
    found: list[_Found] = []
    unlabelled: list[Path] = []
    for path in walk_images(root, _cannot_be_listed):
        parts = path.relative_to(root).parts
        folders = [_plain(part) for part in parts[:-1]]
        split = _SPLIT_FOLDERS.get(folders[0], "") if folders else ""
        name = next(iter(folders[1:] if split else folders), "")
        if name in names:
            below = "/".join(parts[2 if split else 1 :])
            found.append(_Found(split, names.index(name), path, below))
        else:
            unlabelled.append(path)
    if any(each.split for each in found):
        unlabelled += [each.path for each in found if not each.split]
        found = [each for each in found if each.split]
    order = ("", *SPLITS)
    found.sort(key=lambda each: (order.index(each.split), each.label, each.path))
    folders = ["/".join(path.relative_to(root).parts[:-1][:2]) or "." for path in unlabelled]
    return found, dict(sorted(Counter(folders).items()))


def _labelled_by(rows: Sequence[Row], root: Path, labels: tuple[str, str]) -> list[_Found]:
    """Find the label of each image in the table."""
    paths = list(walk_images(root, _cannot_be_listed))
    files = [PurePosixPath(path.relative_to(root).as_posix()) for path in paths]
    matched = _matched(rows, files)
    found = [
        _Found("", _label(matched[file], labels), path, str(file))
        for path, file in zip(paths, files, strict=True)
    ]
    return sorted(found, key=lambda each: (each.label, each.path))


def _label(row: Row, labels: tuple[str, str]) -> int:
    given = row.text("label").casefold()
    for label in LABELS:
        if given in _spellings(label, labels):
            return label
    named = "" if labels == LABEL_FOLDERS else f", {labels[0]} or {labels[1]}"
    return row.refuse("label", f"0 or 1{named}")


def _spellings(label: int, labels: tuple[str, str]) -> tuple[str, ...]:
    return str(label), f"{label}.0", labels[label].casefold()


def _plain(folder: str) -> str:
    """Ignore case, and whether letters such as é are composed, in a folder's name."""
    return composed(folder).casefold()


def _cannot_be_listed(error: OSError) -> NoReturn:
    raise DatasetNotFoundError("A folder of the data set cannot be listed.") from error


def _what_is_there(ignored: Mapping[str, int], labels: tuple[str, str]) -> str:
    zero, one = labels
    return " ".join(
        (
            f"The folder has no images in {zero}/ and {one}/, nor in {zero}/ and {one}/ below "
            "train/, valid/ or test/, and no table with the column label; image files end in "
            f"{', '.join(IMAGE_SUFFIXES)}.",
            *describe_ignored(ignored),
        )
    )


def _table_in(root: Path) -> Path | None:
    """Return the metadata table in a data set's folder, however its name is capitalised."""
    try:
        found = sorted(each for each in root.iterdir() if each.name.casefold() == METADATA_NAME)
    except OSError as err:
        _cannot_be_listed(err)
    return next((each for each in found if each.name == METADATA_NAME), next(iter(found), None))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as err:  # a parent folder may be inaccessible
        raise DatasetNotFoundError("A folder of the data set cannot be entered.") from err


def require_both_classes(examples: Iterable[Example], purpose: str) -> None:
    """Refuse examples that all have one label.

    Raises
    ------
    SingleClassError
        If a label is missing; `purpose` names the use of the examples in the message.
    """
    present = {example.label for example in examples}
    if len(present) < len(LABELS):
        held = ", ".join(str(label) for label in sorted(present)) or "none"
        raise SingleClassError(f"The images for {purpose} need labels 0 and 1; found: {held}.")


def require_both_kinds_of_patients(examples: Iterable[Example], purpose: str) -> None:
    """Refuse examples whose patients all have a tumour, or all have none.

    Raises
    ------
    SingleClassError
        If so; `purpose` names the use of the examples in the message.
    """
    labels: dict[str, int] = {}
    for example in examples:
        known = labels.get(example.patient_id, 0)
        labels[example.patient_id] = max(known, example.label)
    if len(set(labels.values())) < len(LABELS):
        what = "a tumour" if 1 in labels.values() else "no tumour"
        raise SingleClassError(
            f"All patients for {purpose} have {what}, so nothing could be measured by patient; add "
            "images of other patients, or change --validation-fraction or --seed."
        )


def breast_ids(examples: Sequence[Example], chest_walls: Sequence[str | None]) -> list[str]:
    """Return an identifier of each image's breast.

    Parameters
    ----------
    examples
        The images.
    chest_walls
        Side of each image with the chest wall, None if unknown; used only if the laterality is
        unknown. It groups the views of a breast and does not imply left or right: some scanners
        mirror their images.
    """
    return [
        f"{example.patient_id}/{example.facts.laterality or chest_wall or 'unknown'}"
        for example, chest_wall in zip(examples, chest_walls, strict=True)
    ]


def _match_table(
    rows: Sequence[Row],
    found: Sequence[_Found],
    files: Sequence[PurePosixPath],
    labels: tuple[str, str],
) -> dict[PurePosixPath, Row]:
    """Return the row for each file; also validates rows about other images."""
    for row in rows:
        _facts(row)
    matched = _matched(rows, files)
    for each, file in zip(found, files, strict=True):
        given = matched[file].text("label")
        if given and given.casefold() not in _spellings(each.label, labels):
            raise MetadataError(
                f"{matched[file].cell('label')} contradicts the label of the image's folder, "
                f"which is {each.label}."
            )
    return matched


def _matched(rows: Sequence[Row], files: Sequence[PurePosixPath]) -> dict[PurePosixPath, Row]:
    """Return the row for each file."""
    matched = match_rows(rows, files)
    if missing := len(files) - len(matched):
        raise MetadataError(
            f"The metadata table does not list every image of the data set: {missing} of "
            f"{len(files)} images have no row."
        )
    return matched


def _example(found: _Found, file: PurePosixPath, row: Row | None, *, is_unique: bool) -> Example:
    named = _KAGGLE_NAME.match(file.name)
    patient = row.patient() if row else (named["patient"] if named else "")
    image = (row.text("image_id") if row else "") or (named["image"] if named else file.stem)
    return Example(
        path=found.path,
        label=found.label,
        split=found.split,
        # Equal names in two folders are two images, and so two patients.
        patient_id=patient or f"{found.split}/{found.label}/{found.below}",
        image_id=image,
        patient_known=bool(patient),
        facts=_facts(row) if row else Facts(),
        file="" if is_unique else str(file),
    )


def _facts(row: Row) -> Facts:
    return Facts(
        laterality=row.laterality(),
        # Some data sets have views that are not in DICOM's list; no measurement needs them.
        view=row.view() if row.text("view").upper() in list(View) else None,
        age=row.age(),
        density=row.text("density") or None,
        birads=row.birads(),
        invasive=row.flag("invasive"),
        implant=row.flag("implant"),
        site_id=row.text("site_id") or None,
        machine_id=row.text("machine_id") or None,
    )
