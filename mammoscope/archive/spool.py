"""A folder of received images, until their study is reported."""

import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from mammoscope.errors import ConfigurationError, StorageError
from mammoscope.settings.service import ARCHIVE_PREFIX
from mammoscope.system.files import PARTIAL, locked, replacing

_SUFFIX: Final = ".dcm"


class Spool:
    """Images by study and image, both named by keyed hashes; thread-safe.

    Parameters
    ----------
    folder
        Made if missing; one worker at a time uses it.
    max_bytes
        Maximum size of all images in bytes.
    named_with
        Keyed hash that tells the state's key, with which images are named.

    Raises
    ------
    ConfigurationError
        If the folder cannot be used, another worker uses it, or it has images that were named with
        another key.
    """

    def __init__(self, folder: Path, max_bytes: int, named_with: str) -> None:
        self._folder: Final = folder
        self._max_bytes: Final = max_bytes
        self._open = ExitStack()
        # Held while an image is written and entered, and while a study's images are removed, so
        # that no image is removed that was just entered.
        self.lock: Final = threading.RLock()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open.enter_context(locked(folder / "lock", wait=False))
            for left in folder.glob(f"*/.*{PARTIAL}"):  # by a process that was killed
                left.unlink()
            if not (folder / "id").exists():
                _write(folder / "id", secrets.token_hex(16))
            self.id: Final = (folder / "id").read_text(encoding="ascii")
            self._bytes = sum(path.stat().st_size for path in folder.glob(f"*/*{_SUFFIX}"))
            self._require_key(folder / "key", named_with)
        except BlockingIOError as err:
            raise ConfigurationError("Another worker uses the spool; give each its own.") from err
        except OSError as err:
            raise ConfigurationError("The spool's folder cannot be written.") from err
        except BaseException:
            self._open.close()
            raise

    def _require_key(self, note: Path, named_with: str) -> None:
        if self._bytes and note.exists() and note.read_text(encoding="ascii") != named_with:
            raise ConfigurationError(
                "The spool has images that were received under another state; work with that state "
                f"and its key, or set {ARCHIVE_PREFIX}SPOOL to another folder."
            )
        _write(note, named_with)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def write(self, study: str, image: str, data: bytes) -> None:
        """Keep an image; an image of the same name is replaced.

        Raises
        ------
        StorageError
            If the disk or the spool is full.
        """
        path = self._folder / study / f"{image}{_SUFFIX}"
        with self.lock:
            if self._bytes + len(data) > self._max_bytes:
                raise StorageError(
                    f"The spool holds its maximum of {self._max_bytes} bytes; more fits when "
                    "studies have been reported."
                )
            before = path.stat().st_size if path.exists() else 0
            try:
                path.parent.mkdir(mode=0o700, exist_ok=True)
                with replacing(path) as target:
                    target.write_bytes(data)
            except OSError as err:
                raise StorageError("The spool cannot be written: no space is left.") from err
            self._bytes += len(data) - before

    def images(self, study: str) -> Mapping[str, Path]:
        """Return the paths of a study's images, by their hashes."""
        return {path.stem: path for path in sorted((self._folder / study).glob(f"*{_SUFFIX}"))}

    def studies(self) -> Iterator[str]:
        """Yield the hashes of the studies with images."""
        yield from sorted({path.parent.name for path in self._folder.glob(f"*/*{_SUFFIX}")})

    def remove(self, study: str, needed: Callable[[], bool]) -> None:
        """Remove a study's images, unless they are `needed`."""
        with self.lock:
            if needed():
                return
            freed = sum(path.stat().st_size for path in self.images(study).values())
            shutil.rmtree(self._folder / study, ignore_errors=True)
            self._bytes -= freed


def _write(path: Path, content: str) -> None:
    with replacing(path) as target:
        target.write_text(content, encoding="ascii")
