"""Files are replaced atomically, whichever step fails; locks end with their process."""

import errno
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from mammoscope.system.files import locked, replacing, replacing_files, replacing_folder
from tests.full_disk import FullDisk

OLD = {"a.txt": b"old a", "b.txt": b"old b", "other.txt": b"stays"}
NEW = {"a.txt": b"new a", "b.txt": b"new b", "c.txt": b"new c"}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write(folder: Path) -> None:
    for name, text in NEW.items():
        (folder / name).write_bytes(text)


def one_file(folder: Path) -> None:
    with replacing(folder / "a.txt") as target:
        target.write_bytes(NEW["a.txt"])


def several_files(folder: Path) -> None:
    with replacing_files(folder) as work:
        write(work)


def whole_folder(folder: Path) -> None:
    with replacing_folder(folder) as work:
        write(work)


@pytest.mark.parametrize(
    ("replace", "after"),
    [
        (one_file, OLD | {"a.txt": b"new a"}),
        (several_files, OLD | NEW),
        (whole_folder, NEW),
    ],
)
def test_a_failure_at_any_step_changes_nothing(
    replace: Callable[[Path], None],
    after: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, text in OLD.items():
        (folder / name).write_bytes(text)
    disk = FullDisk(monkeypatch)
    failures = 0
    for step in range(1, 100):
        disk.left = step
        try:
            replace(folder)
        except OSError:
            failures += 1
            assert contents(tmp_path) == {f"folder/{name}": text for name, text in OLD.items()}
            continue
        if disk.left > 0:  # there are fewer steps
            break
    assert failures >= 3
    assert contents(tmp_path) == {f"folder/{name}": text for name, text in after.items()}


@pytest.mark.parametrize("replace", [replacing, replacing_files, replacing_folder])
def test_an_interruption_changes_nothing(
    replace: Callable[[Path], AbstractContextManager[Path]], tmp_path: Path
) -> None:
    place = tmp_path / "place"
    if replace is replacing:
        place.write_bytes(b"old")
    else:
        place.mkdir()
        (place / "a.txt").write_bytes(b"old")
    before = contents(tmp_path)

    def interrupted() -> None:
        with replace(place) as work:
            (work if replace is replacing else work / "a.txt").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert contents(tmp_path) == before


def test_concurrent_writers_of_one_file_do_not_interfere(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing(path) as first:
        first.write_bytes(b"first")
        with replacing(path) as second:
            second.write_bytes(b"second")
    assert contents(tmp_path) == {"a.txt": b"first"}


HOLD = """
import sys
from pathlib import Path
from mammoscope.system.files import locked

with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"locked\n"
    with pytest.raises(BlockingIOError), locked(path, wait=False):
        pass
    holder.kill()
    holder.communicate()
    assert path.exists()
    with locked(path, wait=False):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_a_file_system_without_locks_is_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path / "lock", wait=False):
        pass
