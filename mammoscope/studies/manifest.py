"""Find the images of a study, and read from a manifest whose they are."""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mammoscope.errors import MetadataError
from mammoscope.imaging.dicom import is_dicom
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.imaging.reading import is_image_name

_MANIFEST_SUFFIX: Final = ".csv"
_HEAD_BYTES: Final = 132


@dataclass(frozen=True, slots=True)
class Placement:
    """Patient, laterality and view of an image as the caller gives them; None if the image tells.

    ``patient`` is any identifier. The result repeats it, so it must not be a name.
    """

    patient: str | None = None
    laterality: Laterality | None = None
    view: View | None = None


def find_study(path: Path) -> Iterator[tuple[Path, Placement]]:
    """List the images of a study.

    Parameters
    ----------
    path
        An image; a folder, with all images and DICOM files in it and below it in the order of
        their names; or a manifest: CSV with the column ``file``, relative to the manifest, and
        optionally ``patient_id``, ``laterality`` (L, R) and ``view``.

    Raises
    ------
    MetadataError
        If a manifest cannot be read, has no such column or a value that is not allowed.
    """
    if path.suffix.lower() == _MANIFEST_SUFFIX and path.is_file():
        yield from _listed(path)
    elif path.is_dir():
        for current, folders, files in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                file = Path(current, name)
                if is_image_name(file) or (not file.suffix and _is_dicom_file(file)):
                    yield file, Placement()
    else:
        yield path, Placement()


def _is_dicom_file(path: Path) -> bool:
    """Whether a file without a suffix, as archives export them, is DICOM."""
    try:
        with path.open("rb") as stream:
            return is_dicom(stream.read(_HEAD_BYTES))
    except OSError:
        return False


def _listed(manifest: Path) -> Iterator[tuple[Path, Placement]]:
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if "file" not in (reader.fieldnames or ()):
                raise MetadataError('The manifest has no column "file".')
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise MetadataError("The manifest cannot be read as CSV in UTF-8.") from err
    for row in rows:
        try:
            placement = Placement(
                patient=row.get("patient_id") or None,
                laterality=Laterality(row["laterality"]) if row.get("laterality") else None,
                view=View(row["view"]) if row.get("view") else None,
            )
        except ValueError as err:
            raise MetadataError(
                "The manifest has a value that is not allowed: laterality must be L or R, view "
                f"one of {', '.join(View)}."
            ) from err
        yield manifest.parent / (row["file"] or ""), placement
