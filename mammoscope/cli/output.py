"""How commands write results: paths that can be printed, and JSON files."""

from pathlib import Path
from typing import Any

from mammoscope.errors import StorageError
from mammoscope.system import files


def shown(path: Path) -> str:
    """Return a path as it can be printed: undecodable bytes and control characters replaced."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(path)
    )


def require_folder(path: Path | None) -> None:
    """Refuse a file to write before the work if its folder does not exist; None is no file.

    Raises
    ------
    StorageError
        If the folder does not exist or cannot be entered.
    """
    try:
        if path is None or path.parent.is_dir():
            return
    except OSError as err:
        raise StorageError("The folder of the file to write cannot be entered.") from err
    raise StorageError("The folder of the file to write does not exist.")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    try:
        files.write_json(path, content)
    except OSError as err:
        raise StorageError(
            "The JSON file could not be written: no permission or no space."
        ) from err
