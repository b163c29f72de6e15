"""``mammoscope download DIR``: fetch the Kaggle data set."""

import argparse
import contextlib
import io
import logging
import shutil
import socket
import sys
import tempfile
import zipfile
from http import HTTPStatus
from pathlib import Path
from typing import Final

from mammoscope.data.dataset import read_dataset
from mammoscope.errors import DownloadError, StorageError

HANDLE: Final = "hayder17/breast-cancer-detection"
"""Owner and name of the data set on Kaggle (Database Contents License)."""

_CREDENTIAL_CODES: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "download",
        help="download the Kaggle data set",
        description=(
            f"Download the Kaggle data set {HANDLE} (3,383 images) with kagglehub. An interrupted "
            "download is resumed the next time."
        ),
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="new or empty folder to fill")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Download, and print the number of images; 0.

    Raises
    ------
    DownloadError
        If the folder is not empty, or the data set is unavailable.
    StorageError
        If the folder cannot be written.
    """
    folder: Path = args.folder
    count = download(folder)
    print(f"{count:,} images written to {folder}; next: mammoscope audit {folder}")
    return 0


def download(folder: Path) -> int:
    """Download the data set into `folder`, as ``SPLIT/LABEL/FILE.jpg``.

    kagglehub keeps downloaded files in its own cache, so nothing is downloaded twice. The folder
    appears only once it is complete.

    Returns
    -------
    Number of images.

    Raises
    ------
    DownloadError, StorageError
        As in `run`.
    """
    _require_empty(folder)
    source = _find_layout(_fetch())
    try:
        folder = folder.resolve()
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder.parent) as staging:
            complete = Path(staging) / "data"
            shutil.copytree(source, complete)
            if folder.is_dir():
                folder.rmdir()
            complete.rename(folder)
    except OSError as err:
        raise StorageError(
            "The data set cannot be written: no permission or no space left."
        ) from err
    return len(read_dataset(folder).examples)


def _require_empty(folder: Path) -> None:
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DownloadError("The folder to download to must be empty.")
    except OSError as err:
        raise StorageError("The folder to download to cannot be listed.") from err


def _fetch() -> Path:
    """Return the folder of kagglehub's cache that has the data set."""
    # kagglehub writes its log to stdout, and a progress bar to stderr even if that is a file.
    chatter = sys.stderr if sys.stderr.isatty() else io.StringIO()
    try:
        with contextlib.redirect_stdout(chatter), contextlib.redirect_stderr(chatter):
            import kagglehub

            logging.getLogger("kagglehub").setLevel(logging.CRITICAL)
            return Path(kagglehub.dataset_download(HANDLE))
    except ModuleNotFoundError:  # reported by `mammoscope.__main__`
        raise
    except Exception as err:
        raise _explain(err) from err


def _explain(error: Exception) -> DownloadError | StorageError:
    """Describe a failure of kagglehub in one sentence."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    # Compared by name, because these classes exist only if kagglehub is installed.
    name = type(error).__name__
    sentence = "The download failed, and kagglehub gives no reason."
    if name in ("CredentialError", "UnauthenticatedError") or status in _CREDENTIAL_CODES:
        sentence = (
            "Kaggle requires a credential: create an API token in your Kaggle account's settings "
            "and set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY."
        )
    elif status == HTTPStatus.NOT_FOUND:
        sentence = "Kaggle no longer has the data set."
    elif status is not None:
        sentence = f"Kaggle answered with HTTP status {int(status)}; try again later."
    elif isinstance(error, zipfile.BadZipFile) or name == "DataCorruptionError":
        sentence = "The downloaded data are damaged; download again."
    elif _is_network_failure(error):
        sentence = "Kaggle cannot be reached; check the network connection and proxy."
    elif isinstance(error, OSError):
        return StorageError(
            "The download cannot be written to kagglehub's cache: no permission or no space left."
        )
    elif isinstance(error, ValueError):
        sentence = "Kaggle's credential file cannot be read; download it again."
    return DownloadError(sentence)


def _is_network_failure(error: Exception) -> bool:
    """Whether a connection failed, not a disk.

    The OSErrors of requests have no error number; those of the file system do.
    """
    if isinstance(error, (ConnectionError, TimeoutError, socket.gaierror)):
        return True
    return isinstance(error, OSError) and error.errno is None


def _find_layout(fetched: Path) -> Path:
    """Return the folder that has ``train/0``, at most two levels below the download."""
    for pattern in (".", "*", "*/*"):
        for folder in sorted(fetched.glob(pattern)) if pattern != "." else [fetched]:
            if (folder / "train" / "0").is_dir():
                return folder
    raise DownloadError("The downloaded data set lacks the folders train, valid and test.")
