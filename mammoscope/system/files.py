"""Files that are written whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the place to write to; what was written there replaces `path` in one step at the end.

    Pipes and devices are written as they are. After an error the file is what it was before.

    Raises
    ------
    OSError
        What writing raised, or putting the file in its place.
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
