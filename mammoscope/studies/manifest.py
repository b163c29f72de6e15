"""Find the images of a study, and read a manifest that assigns them to patients."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from mammoscope.errors import MetadataError, UnreadableFileError
from mammoscope.imaging.image_files import IMAGE_SUFFIXES, walk_images
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.imaging.metadata import FILE, Row, composed, ends_alike, file_of, read_table
from mammoscope.system.files import is_folder

_MANIFEST_SUFFIX: Final = ".csv"


@dataclass(frozen=True, slots=True)
class Placement:
    """Patient, laterality and view of an image from the caller; None leaves it to the image.

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
        An image; a folder, whose images and subfolders are searched by
        `mammoscope.imaging.image_files.walk_images`; or a manifest. A manifest is a CSV file with
        the column ``file`` and optionally ``patient_id``, ``laterality`` (L, R) and ``view``.
        ``file`` is relative to the manifest, or the end of a path below its folder.

    Raises
    ------
    MetadataError
        If a manifest cannot be read, lacks the column ``file``, has an invalid value, names no
        file, one file twice, or the end of several files' paths.
    UnreadableFileError
        If a folder has no images or cannot be listed.
    """
    if path.suffix.lower() == _MANIFEST_SUFFIX and _is(Path.is_file, path):
        yield from _placed(path)
    elif is_folder(path):
        found = False
        for file in walk_images(path, _cannot_be_listed):
            found = True
            yield file, Placement()
        if not found:
            raise UnreadableFileError(
                f"The folder has no images; image names end in {', '.join(IMAGE_SUFFIXES)}."
            ).at(path)
    else:
        yield path, Placement()


def _placed(manifest: Path) -> Iterator[tuple[Path, Placement]]:
    """Yield the images of a manifest, each once."""
    rows = read_table(manifest, (FILE,))
    if not rows:
        raise MetadataError("The manifest names no images.").at(manifest)
    first: dict[Path, int] = {}
    for row, (path, placement) in zip(rows, place_rows(rows, manifest.parent), strict=True):
        if first.setdefault(path, row.number) != row.number:
            raise MetadataError(
                f"Rows {first[path]} and {row.number} of the manifest name the same file."
            ).at(manifest)
        yield path, placement


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    """Whether a path is of a kind; not if its name is too long or a folder is inaccessible."""
    try:
        return kind(path)
    except OSError:  # the error is reported when it is read as a file
        return False


def _cannot_be_listed(error: OSError) -> None:
    raise UnreadableFileError("A folder of the study cannot be listed.") from error


def place_rows(rows: Iterable[Row], folder: Path) -> Iterator[tuple[Path, Placement]]:
    """Find the image of each row of a manifest, and what the row says of it.

    Parameters
    ----------
    rows
        Rows with the column ``file``.
    folder
        The folder of the manifest.

    Raises
    ------
    MetadataError
        If a row has an invalid value, or names the end of several files' paths.
    UnreadableFileError
        If a folder cannot be listed.
    """
    below: list[Path] | None = None
    for row in rows:
        placement = Placement(row.patient() or None, row.laterality(), row.view())
        path = folder / file_of(row)
        if not _is(Path.exists, path):
            if below is None:
                below = list(walk_images(folder, _cannot_be_listed))
            path = _only_one(row, folder, below) or path
        yield path, placement


def _only_one(row: Row, folder: Path, below: list[Path]) -> Path | None:
    """Return the file below a manifest's folder whose path ends as the row says, or None."""
    named = file_of(row)
    found = [
        path
        for path in below
        if composed(path.name) == composed(named.name)
        and ends_alike(named, PurePosixPath(path.relative_to(folder).as_posix()))
    ]
    if len(found) > 1:
        raise MetadataError(
            f"{row.cell(FILE)} is the end of {len(found)} files' paths below the manifest's "
            "folder; give more of the path."
        )
    return found[0] if found else None
