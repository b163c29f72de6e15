"""The file of ``mammoscope predict --json``: one complete result per line, none lost."""

import json
import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from mammoscope.errors import ConfigurationError, StorageError
from mammoscope.system.files import lock

_BEGINNING: Final = b'{"path": '
"""Keys of every line."""


class Origin(NamedTuple):
    """The model and the threshold, which must be the same for all results in a file."""

    model_version: str
    threshold: float


def require_new(path: Path, *, otherwise: str = "") -> None:
    """Refuse a file that has content; `otherwise` names an alternative in the message.

    Raises
    ------
    ConfigurationError
        If the file has content.
    """
    try:
        filled = path.is_file() and path.stat().st_size > 0
    except OSError:
        filled = False  # the error is reported when the file is written
    if filled:
        raise ConfigurationError(
            f"The JSON file already has content and was not changed: {otherwise}name another "
            "file, or delete it."
        )


class ResultFile:
    """A file to which results are appended one by one; an incomplete result leaves no trace.

    Parameters
    ----------
    path
        The file, or a pipe or device.
    origin
        Model and threshold of the results to write.
    resume
        Whether to continue a file that has results. An incomplete last line, as left by a killed
        command, is removed.

    Attributes
    ----------
    paths
        Paths of the images that already had results.
    refused
        Number of refusals among them.

    Raises
    ------
    ConfigurationError
        If the file has content and `resume` is False, its content cannot be continued, or another
        command is writing it.
    StorageError
        If the file cannot be written.
    """

    def __init__(self, path: Path, origin: Origin, *, resume: bool) -> None:
        self.paths: set[str] = set()
        self.refused = 0
        if not resume:
            require_new(path, otherwise="continue it with --resume, ")
        self._is_file = path.is_file() or not path.exists()
        with ExitStack() as opened:
            try:
                mode = "r+b" if path.is_file() else "wb"
                self._stream = opened.enter_context(path.open(mode, buffering=0))
                if self._is_file:
                    lock(self._stream, wait=False)
            except BlockingIOError as err:
                raise ConfigurationError("Another command is writing the JSON file.") from err
            except OSError as err:
                raise StorageError("The JSON file cannot be written.") from err
            if self._is_file:
                self._continue(path, origin)
            opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stream:
            if self._is_file:
                os.fsync(self._stream.fileno())

    def write(self, result: dict[str, Any]) -> None:
        """Append a result.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        line = memoryview((json.dumps(result) + "\n").encode())
        start = self._stream.tell() if self._is_file else 0
        try:
            while line:
                line = line[self._stream.write(line) :]
        except BaseException:
            if self._is_file:
                self._stream.truncate(start)
            raise

    def _continue(self, path: Path, origin: Origin) -> None:
        """Read the existing results, and move to the end of the file."""
        end = 0
        with path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n") and _BEGINNING[: len(line)] == line[: len(_BEGINNING)]:
                    break
                self._learn(line, origin)
                end += len(line)
        self._stream.seek(end)
        self._stream.truncate()

    def _learn(self, line: bytes, origin: Origin) -> None:
        try:
            result = json.loads(line)
            path = result["path"]
            is_refusal = "error" in result
            found = origin if is_refusal else Origin(result["model_version"], result["threshold"])
        except (ValueError, KeyError, TypeError) as err:
            raise ConfigurationError(
                "The JSON file does not contain results of mammoscope predict and was not changed; "
                "name another file."
            ) from err
        if found != origin:
            raise ConfigurationError(
                "The JSON file has results of another model or operating point and was not "
                "changed; name another file."
            )
        self.paths.add(path)
        self.refused += is_refusal
