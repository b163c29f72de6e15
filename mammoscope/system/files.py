"""Write files and folders atomically, and lock between processes."""

import errno
import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

if sys.platform != "win32":
    import fcntl

PARTIAL: Final = ".partial"
"""Suffix of the temporary names of `replacing`; a killed process leaves such a file."""


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; not if it is inaccessible or too long for a name."""
    try:
        return path.is_dir()
    except OSError:
        return False


def json_text(content: Any) -> str:
    """Return the text of a JSON file: indented by two, strict (no NaN), with a final newline."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    with replacing(path) as target:
        target.write_text(json_text(content), encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file for writing; at the end it atomically replaces `path`.

    The file is flushed to disk before it gets its name. Pipes and devices are written directly.
    After an error, the file is unchanged.

    Raises
    ------
    OSError
        If the file cannot be written or replaced.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    # A unique name, because two processes may write the same file at once.
    target = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        yield target
        _flush(target)
        target.replace(path)
        _flush(path.parent)
    except BaseException:
        with suppress(OSError):  # the first error is reported
            target.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_files(folder: Path) -> Iterator[Path]:
    """Yield a new folder for writing files; at the end all of them replace those in `folder`.

    Other files do not change. The new files are flushed to disk before the first old one is
    removed. After an error, every file is unchanged.

    Raises
    ------
    OSError
        If a file cannot be written or replaced.
    """
    work = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
    try:
        yield work
        new = sorted(work.iterdir())
        for file in new:
            _flush(file)
        with _replaced() as replace:
            for file in new:
                replace(file, folder / file.name)
        _flush(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder for writing; at the end it atomically replaces the folder `path`.

    All files are flushed to disk before the folder gets its name, so a folder of that name is
    always complete. Only the user can access the folder. After an error, `path` is unchanged.

    Raises
    ------
    OSError
        If the files cannot be written, or the folder cannot be replaced.
    """
    work = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield work
        for file in (*work.iterdir(), work):
            _flush(file)
        with _replaced() as replace:
            replace(work, path)
        _flush(path.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _replaced() -> Iterator[Callable[[Path, Path], None]]:
    """Yield a function that renames a file or folder, replacing an existing one.

    What is replaced is removed at the end, or restored after an error.
    """
    old: list[Path] = []

    def replace(new: Path, path: Path) -> None:
        if path.exists():
            before = path.with_name(f".{path.name}.{secrets.token_hex(4)}.before")
            undo.callback(_put_back, before, path)
            path.rename(before)
            old.append(before)
        else:
            undo.callback(_remove, path)
        new.rename(path)

    with ExitStack() as undo:
        yield replace
        undo.pop_all()
    for each in old:
        _remove(each)


def _put_back(before: Path, path: Path) -> None:
    """Restore the name of the file or folder `before`, if it lost it."""
    if before.exists():
        _remove(path)
        before.rename(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock file; other threads and processes wait for it.

    The lock ends with its process, however that ends; the file stays. Windows and some network file
    systems have no such lock, so there is no waiting there.

    Parameters
    ----------
    path
        The lock file; created if missing.
    wait
        Whether to wait until the lock is free.

    Raises
    ------
    BlockingIOError
        If `wait` is False and the lock is taken.
    OSError
        If the file cannot be created or locked.
    """
    with path.open("ab") as stream:
        lock(stream, wait=wait)
        yield


def lock(stream: IO[Any], *, wait: bool = True) -> None:
    """Lock an open file until it is closed; otherwise like `locked`."""
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        if err.errno not in (errno.ENOSYS, errno.ENOTSUP):
            raise


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are flushed to disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        if (
            not path.is_dir()
        ):  # Windows cannot open folders, and some file systems cannot flush them
            raise
