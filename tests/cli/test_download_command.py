"""``download``: files from kagglehub are stored in Kaggle's layout, and failures explained."""

import contextlib
import errno
import importlib.abc
import socket
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mammoscope.__main__ import main
from mammoscope.cli.download import HANDLE, download
from mammoscope.data.dataset import read_dataset
from mammoscope.errors import DownloadError, MammoscopeError, StorageError
from mammoscope.phantoms.drawing import write_phantom_dataset


class CredentialError(Exception):
    """Has the name of kagglehub's class."""


class DataCorruptionError(Exception):
    """Has the name of kagglehub's class."""


class RequestsConnectionError(OSError):
    """Like those of requests: an OSError without a number."""


class HttpError(OSError):
    def __init__(self, status: int) -> None:
        super().__init__("https://host.example/secret-path?token=abc")
        self.response = types.SimpleNamespace(status_code=status)


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A kagglehub whose ``dataset_download`` the test sets."""
    module: Any = types.ModuleType("kagglehub")
    monkeypatch.setitem(sys.modules, "kagglehub", module)
    return module


def failing(error: Exception) -> Any:
    def dataset_download(handle: str) -> str:
        sys.stdout.write("chatter of the library")
        raise error

    return dataset_download


@pytest.mark.parametrize("nested", ["", "data", "breast/data"])
def test_the_data_set_is_stored_in_its_layout(kaggle: Any, nested: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    written = write_phantom_dataset(cache / nested, patients=3)
    handles = []

    def dataset_download(handle: str) -> str:
        handles.append(handle)
        return str(cache)

    kaggle.dataset_download = dataset_download
    folder = tmp_path / "new" / "data"
    assert download(folder) == len(written) == 12
    assert handles == [HANDLE]
    assert len(read_dataset(folder).examples) == 12
    assert [path.name for path in folder.parent.iterdir()] == ["data"]


def test_an_empty_folder_is_filled(kaggle: Any, tmp_path: Path) -> None:
    write_phantom_dataset(tmp_path / "cache", patients=3)
    kaggle.dataset_download = lambda handle: str(tmp_path / "cache")
    (tmp_path / "data").mkdir()
    assert download(tmp_path / "data") == 12


@pytest.mark.parametrize("is_file", [True, False])
def test_a_folder_that_is_not_empty_is_refused_early(
    kaggle: Any, is_file: bool, tmp_path: Path
) -> None:
    kaggle.dataset_download = failing(AssertionError("asked Kaggle"))
    place = tmp_path / "file" if is_file else tmp_path
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="must be empty"):
        download(place)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (CredentialError("no token in /root/.kaggle"), (DownloadError, "requires a credential")),
        (HttpError(401), (DownloadError, "requires a credential")),
        (HttpError(403), (DownloadError, "requires a credential")),
        (HttpError(404), (DownloadError, "no longer has the data set")),
        (HttpError(503), (DownloadError, "HTTP status 503")),
        (RequestsConnectionError("host.example"), (DownloadError, "cannot be reached")),
        (ConnectionResetError(errno.ECONNRESET, "host"), (DownloadError, "cannot be reached")),
        (socket.gaierror(-2, "host"), (DownloadError, "cannot be reached")),
        (TimeoutError("host"), (DownloadError, "cannot be reached")),
        (OSError(errno.ENOSPC, "full", "/root/x"), (StorageError, "no permission or no space")),
        (PermissionError(errno.EACCES, "no", "/root/x"), (StorageError, "no permission")),
        (zipfile.BadZipFile("/root/x"), (DownloadError, "damaged")),
        (DataCorruptionError("md5"), (DownloadError, "damaged")),
        (ValueError("Malformed /root/.kaggle/kaggle.json"), (DownloadError, "credential file")),
        (RuntimeError("/root/x"), (DownloadError, "gives no reason")),
    ],
)
def test_every_failure_is_explained_in_one_sentence(
    kaggle: Any,
    error: Exception,
    answer: tuple[type[MammoscopeError], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind, words = answer
    kaggle.dataset_download = failing(error)
    with pytest.raises(kind, match=words) as caught:
        download(tmp_path / "data")
    assert not any(secret in str(caught.value) for secret in ("root", "host", "token=", "md5"))
    assert not (tmp_path / "data").exists()
    assert capsys.readouterr() == ("", "")


def test_missing_kagglehub_is_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Absent(importlib.abc.MetaPathFinder):
        def find_spec(self, fullname: str, path: object, target: object = None) -> None:
            if fullname == "kagglehub":
                raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)

    monkeypatch.delitem(sys.modules, "kagglehub", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    assert main(["download", str(tmp_path / "data")]) == 1
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "kagglehub, which is not installed" in sentence
    assert "mammoscope[train]" in sentence


def test_a_different_data_set_is_refused(kaggle: Any, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    kaggle.dataset_download = lambda handle: str(tmp_path / "cache")
    with pytest.raises(DownloadError, match="lacks the folders"):
        download(tmp_path / "data")


def test_a_copy_that_fails_leaves_nothing_behind(
    kaggle: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_phantom_dataset(tmp_path / "cache", patients=3)
    kaggle.dataset_download = lambda handle: str(tmp_path / "cache")

    def full(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "half").touch()
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("mammoscope.cli.download.shutil.copytree", full)
    with pytest.raises(StorageError):
        download(tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_ctrl_c_is_not_swallowed(kaggle: Any, tmp_path: Path) -> None:
    kaggle.dataset_download = failing(KeyboardInterrupt())  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        download(tmp_path / "data")


def test_the_real_call_without_a_network_is_explained(tmp_path: Path) -> None:
    """The real kagglehub against an address where nothing listens, so that nothing is fetched."""
    with contextlib.closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{unused.getsockname()[1]}"
        result = subprocess.run(
            [sys.executable, "-m", "mammoscope", "download", tmp_path / "data"],
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(tmp_path / "home"),
                "HTTPS_PROXY": proxy,
                "HTTP_PROXY": proxy,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert result.returncode == 1
    assert result.stdout == ""
    assert "Kaggle cannot be reached" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "data").exists()
