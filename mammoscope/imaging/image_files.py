"""Find the image files in a folder: one rule for data sets, studies, commands and the client."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePath
from typing import Final

from mammoscope.imaging.dicom import is_dicom

IMAGE_SUFFIXES: Final = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".dcm", ".dicom",
)  # fmt: skip
"""File name suffixes of images, in lower case."""

_DICOM_SUFFIXES: Final = frozenset({"", ".dc3", ".dic", ".ima", ".img", ".mg"})
"""Other suffixes of DICOM files, in lower case; files of other kinds have them too."""

_HEAD_BYTES: Final = 132
_NOT_IMAGES: Final = frozenset(
    {"#recycle", "$recycle.bin", "@eadir", "__macosx", "dicomdir", "thumbs.db"}
)
"""Files and folders that systems, network storage and DICOM media add, such as small copies of
images and deleted images; in lower case. Hidden ones are skipped too."""


def walk_images(folder: Path, on_error: Callable[[OSError], object]) -> Iterator[Path]:
    """Yield the images in a folder and all its subfolders.

    An image has one of `IMAGE_SUFFIXES`, or is a DICOM file whose name has no suffix, another
    suffix of DICOM files, or ends in a number, as in archives. Hidden files and folders,
    ``__MACOSX``, ``Thumbs.db``, ``DICOMDIR``, folders of network storage and pipes are skipped.
    Symbolic links are followed unless they lead back to a parent folder.

    Parameters
    ----------
    folder
        The folder to search.
    on_error
        Called with the error of each folder that cannot be listed; ``filename`` is the folder.

    Yields
    ------
    Path
        Path below `folder`: the images of a folder by name, then those of its subfolders.
    """
    yield from _walk(folder, on_error, frozenset())


def _walk(
    folder: Path, on_error: Callable[[OSError], object], above: frozenset[tuple[int, int]]
) -> Iterator[Path]:
    folders = []
    try:
        facts = folder.stat()
        here = above | {(facts.st_dev, facts.st_ino)}
        if here == above:  # a link back to a parent folder
            return
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
        for entry in entries:
            path = folder / entry.name
            if is_left_out(entry.name):
                continue
            if _is_folder(entry):
                folders.append(path)
            elif not _is_pipe(entry) and is_image(path, partial(_head, path)):
                yield path
    except OSError as err:
        err.filename = err.filename or str(folder)
        on_error(err)
    for each in folders:
        yield from _walk(each, on_error, here)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself or to an inaccessible place; its name decides
        return False


def _is_pipe(entry: os.DirEntry[str]) -> bool:
    """Whether this is a pipe, socket or device; reading one may block forever."""
    try:
        return not entry.is_file() and bool(entry.stat())
    except OSError:  # a broken link; the error is reported when it is read
        return False


def is_left_out(name: str) -> bool:
    """Whether a file or folder of this name is skipped."""
    return name.startswith(".") or name.lower() in _NOT_IMAGES


def is_image(path: PurePath, head: Callable[[int], bytes]) -> bool:
    """Whether a file is an image, by its name or, for names like those in archives, its content.

    Parameters
    ----------
    path
        The file; only its name counts.
    head
        Returns the first bytes of the file, at most the given number; called only if the name does
        not decide.
    """
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return True
    is_likely = suffix in _DICOM_SUFFIXES or suffix[1:].isdigit()
    return is_likely and is_dicom(head(_HEAD_BYTES))


def _head(path: Path, count: int) -> bytes:
    """Return the first bytes of a file; none if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(count)
    except OSError:
        return b""
