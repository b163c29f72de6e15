"""Results of ``mammoscope predict`` in a file: none incomplete, none lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from mammoscope.cli.result_file import Origin, ResultFile, require_new
from mammoscope.errors import ConfigurationError, StorageError
from mammoscope.system.files import locked

ORIGIN = Origin("1.2.3", 0.5)
RESULTS: list[dict[str, Any]] = [
    {"path": "a.png", "model_version": "1.2.3", "threshold": 0.5, "warnings": ["Schärfe"]},
    {"path": "b.png", "error": {"code": "corrupt_image", "message": "x"}},
    {"path": "c\udcff\n.png", "model_version": "1.2.3", "threshold": 0.5},
]
WHOLE = "".join(json.dumps(each) + "\n" for each in RESULTS).encode()


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    return tmp_path / "lines.jsonl"


def finish(lines: Path) -> int:
    """Write the missing results; returns their number."""
    with ResultFile(lines, ORIGIN, resume=True) as results:
        left = [each for each in RESULTS if each["path"] not in results.paths]
        for each in left:
            results.write(each)
    return len(left)


@pytest.mark.parametrize("end", range(len(WHOLE) + 1))
def test_a_command_stopped_at_any_byte_is_continued(lines: Path, end: int) -> None:
    lines.write_bytes(WHOLE[:end])
    with ResultFile(lines, ORIGIN, resume=True) as results:
        assert len(results.paths) == WHOLE[:end].count(b"\n")
        assert results.refused == (len(results.paths) > 1)
    assert finish(lines) == len(RESULTS) - WHOLE[:end].count(b"\n")
    assert lines.read_bytes() == WHOLE


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a list of things to do", "does not contain results"),
        ("a list\nof things\n", "does not contain results"),
        ("\n", "does not contain results"),
        ("{}\n", "does not contain results"),
        ("[1]\n", "does not contain results"),
        ('{"path": "a.png"}\n', "does not contain results"),
        ('{"path": "a.png", "model_version": "1", "threshold": 0.5}\n', "of another model"),
        ('{"path": "a.png", "model_version": "1.2.3", "threshold": 0.1}\n', "of another model"),
    ],
)
def test_files_that_cannot_be_continued_are_unchanged(lines: Path, content: str, said: str) -> None:
    lines.write_text(content)
    with pytest.raises(ConfigurationError, match=said):
        ResultFile(lines, ORIGIN, resume=True)
    with pytest.raises(ConfigurationError, match="continue it with --resume"):
        ResultFile(lines, ORIGIN, resume=False)
    with pytest.raises(ConfigurationError, match="already has content and was not changed: name"):
        require_new(lines)
    assert lines.read_text() == content


def test_an_empty_file_is_written_to(lines: Path) -> None:
    lines.touch()
    require_new(lines)
    with ResultFile(lines, ORIGIN, resume=False) as results:
        results.write(RESULTS[0])
    assert lines.read_bytes() == WHOLE[: WHOLE.index(b"\n") + 1]


def test_only_one_command_writes_a_file(lines: Path) -> None:
    with (
        locked(lines),
        pytest.raises(ConfigurationError, match="Another command is writing"),
    ):
        ResultFile(lines, ORIGIN, resume=True)
    assert finish(lines) == len(RESULTS)


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        ResultFile(tmp_path / "no" / "lines.jsonl", ORIGIN, resume=True)


@pytest.mark.parametrize("size", range(0, len(WHOLE), 7))
def test_a_full_disk_leaves_complete_lines(lines: Path, size: int) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system writes up to the limit: half a line.
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            finish(lines)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert lines.read_bytes() == WHOLE[: WHOLE.rfind(b"\n", 0, size) + 1]
    finish(lines)
    assert lines.read_bytes() == WHOLE


def test_an_interruption_leaves_complete_lines(lines: Path) -> None:
    class Interrupted:
        """Writes a few bytes, then is interrupted."""

        def __init__(self, stream: Any) -> None:
            self._stream = stream
            self._writes = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stream, name)

        def __enter__(self) -> Any:
            return self._stream.__enter__()

        def __exit__(self, *error: object) -> None:
            self._stream.__exit__(*error)

        def write(self, data: bytes) -> int:
            self._writes += 1
            if self._writes == 2:
                raise KeyboardInterrupt
            return int(self._stream.write(data[:10]))

    def interrupted() -> None:
        with ResultFile(lines, ORIGIN, resume=True) as results:
            results.write(RESULTS[0])
            results._stream = Interrupted(results._stream)  # type: ignore[assignment]
            results.write(RESULTS[1])

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert lines.read_bytes() == WHOLE[: WHOLE.index(b"\n") + 1]
    assert finish(lines) == 2
    assert lines.read_bytes() == WHOLE
