"""Files that are written whole or not at all."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
