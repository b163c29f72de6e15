"""Films with outlined lesions, for training before the data set and beside it.

The table ``lesions.csv`` has a row for each box: file, patient, side, view, pathology, x0, y0, x1
and y1 as fractions of the film's width and height, and ``use``. Runs train on films of use
``train``. Films of use ``heldout``, from other patients, are only measured. Other uses are ignored.
"""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from mammoscope.data.dataset import Dataset, Example, Facts
from mammoscope.errors import DatasetNotFoundError, MetadataError
from mammoscope.imaging.arrays import Boxes
from mammoscope.imaging.mammogram import View
from mammoscope.imaging.preprocessing import Preprocessed, preprocess
from mammoscope.imaging.reading import read_file
from mammoscope.settings.channels import ChannelsName

MALIGNANT: Final = 0
BENIGN: Final = 1

TABLE_NAME: Final = "lesions.csv"
_COLUMNS: Final = ("file", "patient", "view", "pathology", "x0", "y0", "x1", "y1", "use")
_KINDS: Final = {"MALIGNANT": MALIGNANT, "BENIGN": BENIGN}
"""First letters of a pathology. ``MALIGNANT?`` and ``MALIGNANT-mixed`` are malignant,
``BENIGN_WITHOUT_CALLBACK`` is benign."""

MARGIN: Final = 0.04
"""Share of a film's sides that is cut off at each edge. Scans have bright borders and film edges;
with them, most crops would be as wide as the film."""


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """An image and the lesions outlined in it, as fractions of its sides."""

    example: Example
    boxes: Boxes


def read_films(root: Path, use: str) -> tuple[Film, ...]:
    """List the films of a use, ``train`` or ``heldout``, in the order of their names.

    A film's label is 1 if one of its lesions is malignant.

    Raises
    ------
    DatasetNotFoundError
        If the folder has no table.
    MetadataError
        If the table lacks a column or has an invalid value.
    """
    by_file = defaultdict(list)
    try:
        with (root / TABLE_NAME).open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise MetadataError(f"The table of lesions lacks {', '.join(missing)}.")
            for row in reader:
                if row["use"] == use:
                    by_file[row["file"]].append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise DatasetNotFoundError(
            f"The folder has no readable table of lesions, {TABLE_NAME}."
        ) from err
    return tuple(_film(root, by_file[file]) for file in sorted(by_file))


def read_lesions(root: Path) -> Dataset:
    """Return the films as a data set with splits ``train`` and ``heldout``.

    Raises as `read_films`.
    """
    films = (*read_films(root, "train"), *read_films(root, "heldout"))
    return Dataset(root=root, examples=tuple(film.example for film in films), has_metadata=True)


def preprocess_film(
    film: Film, size: tuple[int, int], channels: ChannelsName = "ranks"
) -> tuple[Preprocessed, Boxes]:
    """Read and preprocess a film without its margin, and transform its boxes accordingly.

    Parameters
    ----------
    film
        The film, whose file is read.
    size, channels
        As in `mammoscope.imaging.preprocessing.preprocess`.

    Returns
    -------
    tuple
        The preprocessed film, and its boxes as fractions of it, clipped to it.

    Raises
    ------
    ImageError
        If it cannot be read or has no breast.
    """
    mammogram = read_file(film.example.path, needed=size)
    height, width = (round(side * MARGIN) for side in mammogram.pixels.shape)
    inner = np.ascontiguousarray(mammogram.pixels[height:-height, width:-width])
    preprocessed = preprocess(
        replace(mammogram, pixels=inner, read_fully=None), size, channels=channels
    )
    top, left, bottom, right = preprocessed.box
    boxes = film.boxes.copy()
    boxes[:, 1:] = (boxes[:, 1:] - MARGIN) / (1.0 - 2.0 * MARGIN)
    boxes[:, [1, 3]] = (boxes[:, [1, 3]] * inner.shape[1] - left) / (right - left)
    boxes[:, [2, 4]] = (boxes[:, [2, 4]] * inner.shape[0] - top) / (bottom - top)
    if preprocessed.mirrored:
        boxes[:, [1, 3]] = 1.0 - boxes[:, [3, 1]]
    boxes[:, 1:] = boxes[:, 1:].clip(0.0, 1.0)
    return preprocessed, boxes[(boxes[:, 1] < boxes[:, 3]) & (boxes[:, 2] < boxes[:, 4])]


def _film(root: Path, rows: Sequence[Mapping[str, str]]) -> Film:
    first = rows[0]
    boxes = np.array([_box(row) for row in rows], dtype=np.float32)
    example = Example(
        path=root / first["file"],
        label=int((boxes[:, 0] == MALIGNANT).any()),
        split=first["use"],
        patient_id=first["patient"],
        image_id=first["file"],
        patient_known=True,
        facts=Facts(view=View(first["view"]) if first["view"] in list(View) else None),
    )
    return Film(example, boxes)


def _box(row: Mapping[str, str]) -> tuple[float, ...]:
    kinds = [kind for word, kind in _KINDS.items() if row["pathology"].startswith(word)]
    try:
        x0, y0, x1, y1 = (float(row[name]) for name in ("x0", "y0", "x1", "y1"))
    except ValueError as err:
        raise MetadataError(
            "The table of lesions has a box with edges that are not numbers."
        ) from err
    if not kinds or not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise MetadataError(
            "The table of lesions has an invalid box: the pathology must begin with MALIGNANT or "
            "BENIGN, and the edges must be fractions from 0 to 1, with x0 < x1 and y0 < y1."
        )
    return kinds[0], x0, y0, x1, y1
