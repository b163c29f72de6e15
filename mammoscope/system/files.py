"""Files and folders that are written whole or not at all, and locks between processes."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if sys.platform != "win32":
    import fcntl


def json_text(content: Any) -> str:
    """Return the text of a JSON file: indented by two, strict (no NaN), with a final newline."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with replacing(path) as target:
        target.write_text(json_text(content), encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write; at the end it replaces `path` in one step.

    Pipes and devices are written directly. After an error the file is what it was before.

    Raises
    ------
    OSError
        If the file cannot be written or replaced.
    """
    is_file = path.is_file() or not path.exists()
    target = path.with_name(f".{path.name}.partial") if is_file else path
    try:
        yield target
        if is_file:
            target.replace(path)
    except OSError:
        if is_file:
            target.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a new folder to write files to; at the end it replaces the folder `path`.

    The files are on the disk before the folder gets its name, so that a folder of that name is
    always complete. Only the user may enter the folder. After an error `path` is what it was
    before.

    Raises
    ------
    OSError
        What writing raised, or putting the folder in its place.
    """
    work = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield work
        for file in (*work.iterdir(), work):
            _flush(file)
        if path.exists():
            shutil.rmtree(path)
        work.rename(path)
        _flush(path.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file; a thread or process that wants the same one waits until the end.

    The lock ends with the process that holds it. Windows has no such lock: there nobody waits.

    Raises
    ------
    OSError
        If the file cannot be created or locked.
    """
    with path.open("ab") as stream:
        if sys.platform != "win32":
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _flush(path: Path) -> None:
    if sys.platform == "win32" and path.is_dir():
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
