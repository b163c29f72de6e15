"""Write results of commands: printable paths, lines for people, and JSON."""

import sys
from pathlib import Path
from typing import Any, Final

from mammoscope.errors import StorageError
from mammoscope.system import files

STANDARD_OUTPUT: Final = "-"
"""File name that means standard output."""

UNKNOWN_PATIENT: Final = (
    "The patient of these images is unknown, so there is no result by breast or patient. Give "
    "patient_id and laterality in a manifest (CSV: file, patient_id, laterality, view)."
)

_BYTES: Final = range(0xDC80, 0xDD00)
"""How Python decodes names that are not valid text; standard output restores their bytes."""


def shown(path: Path | str) -> str:
    """Make a path printable by replacing control characters."""
    return "".join(
        letter if letter.isprintable() or ord(letter) in _BYTES else "\N{REPLACEMENT CHARACTER}"
        for letter in str(path)
    )


def say(text: str, json_path: Path | None) -> None:
    """Print text for people, unless the JSON goes to standard output."""
    if not is_standard_output(json_path):
        print(text, flush=True)


def is_standard_output(path: Path | None) -> bool:
    """Whether an output path means standard output."""
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
    """Write JSON to a file, atomically, or to standard output for `STANDARD_OUTPUT`.

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
