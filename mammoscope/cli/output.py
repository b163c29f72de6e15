"""How commands write results: paths that can be printed, lines for people, and JSON."""

import sys
from pathlib import Path
from typing import Any, Final

from mammoscope.errors import StorageError
from mammoscope.system import files

STANDARD_OUTPUT: Final = "-"
"""Name of a file that stands for standard output."""

_BYTES: Final = range(0xDC80, 0xDD00)
"""What Python makes of bytes in names that are no text; standard output gives them back."""


def shown(path: Path | str) -> str:
    """Return a path as it can be printed: control characters replaced."""
    return "".join(
        letter if letter.isprintable() or ord(letter) in _BYTES else "\N{REPLACEMENT CHARACTER}"
        for letter in str(path)
    )


def say(text: str, json_path: Path | None) -> None:
    """Print what people read, unless the JSON goes to standard output."""
    if not is_standard_output(json_path):
        print(text, flush=True)


def is_standard_output(path: Path | None) -> bool:
    """Whether a file to write stands for standard output."""
    return path is not None and str(path) == STANDARD_OUTPUT


def require_folder(path: Path | None) -> None:
    """Refuse an output file early if its folder does not exist; None means no file.

    Raises
    ------
    StorageError
        If the folder does not exist or cannot be entered.
    """
    try:
        if path is None or path.parent.is_dir():
            return
    except OSError as err:
        raise StorageError("The folder of the output file cannot be entered.") from err
    raise StorageError("The folder of the output file does not exist.")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all, or `STANDARD_OUTPUT`.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    if is_standard_output(path):
        sys.stdout.write(files.json_text(content))
        return
    try:
        files.write_json(path, content)
    except OSError as err:
        raise StorageError(
            "The JSON file cannot be written: no permission or no space left."
        ) from err
