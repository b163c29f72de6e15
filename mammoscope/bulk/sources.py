"""Where the images come from: a folder, glob, manifest, zip, tar, or an object store.

A source lists its files lazily, always in the same order, and reads one of them at a time. Nothing
here knows of Ray, models or results.
"""

import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any, Final, Protocol

import fsspec
import pyarrow.fs
import pyarrow.parquet
from fsspec.implementations.arrow import ArrowFSWrapper

from mammoscope.errors import MetadataError, UnreadableFileError, UsageError
from mammoscope.imaging.image_files import IMAGE_SUFFIXES, is_image, is_left_out
from mammoscope.imaging.metadata import FILE, rows_of
from mammoscope.imaging.reading import file_bytes
from mammoscope.settings.service import ReadingLimits
from mammoscope.studies.manifest import Placement, find_study, place_rows

_GLOB: Final = frozenset("*?[")
_ARROW: Final = ("s3", "gs")
"""Object stores that pyarrow reads by itself, by scheme; fsspec's packages read the others."""

_MOST_BYTES: Final = ReadingLimits().max_image_bytes + 1
"""As many bytes of a file are read: one more than allowed, so that reading refuses the image."""

NO_IMAGES: Final = f"SOURCE has no images; image names end in {', '.join(IMAGE_SUFFIXES)}."


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a source.

    Parameters
    ----------
    name
        Path below the source, with forward slashes.
    place
        What the source needs to find it.
    size
        Bytes.
    state
        Changes with the content: a time, checksum or tag.
    offset
        First byte in a tar archive.
    placement
        What a manifest says of the image.
    """

    name: str
    place: str
    size: int
    state: str
    offset: int = 0
    placement: Placement = field(default_factory=Placement)


class Source(Protocol):
    """A collection of files; thread-safe."""

    def entries(self) -> Iterator[Entry]:
        """Yield the images, always in the same order.

        Raises UnreadableFileError if the source cannot be listed, and MetadataError if it is a
        manifest that cannot be used.
        """
        ...

    def read(self, entry: Entry) -> bytes:
        """Return a file's bytes, or one byte more than allowed; raises UnreadableFileError."""
        ...


def open_source(text: str) -> Source:
    """Return the source of a path, glob or URL.

    Raises
    ------
    UsageError
        If there is nothing at the path, or the URL's scheme is unknown.
    """
    scheme, separator, _ = text.partition("://")
    filesystem, path = connect(text)
    suffixes = PurePosixPath(path).suffixes
    if suffixes[-1:] == [".zip"]:
        return _Zip(filesystem, path)
    if suffixes[-1:] == [".tar"]:
        return _Tar(filesystem, path)
    if suffixes[-1:] == [".tgz"] or suffixes[-2:-1] == [".tar"]:
        raise UsageError(
            "Compressed tar archives cannot be read from the middle; give a .tar or .zip, or "
            "unpack it."
        )
    if separator and scheme != "file":
        return _Remote(filesystem, path)
    return _Local(path)


def connect(text: str) -> tuple[Any, str]:
    """Return the fsspec file system of a path or URL, and the path in it.

    Raises
    ------
    UsageError
        If the scheme is unknown, its package is not installed, or the store does not answer.
    """
    scheme, separator, path = text.partition("://")
    if not separator:
        return fsspec.filesystem("file"), text
    try:
        if scheme in _ARROW:
            bucket = path.partition("/")[0]
            store, _ = pyarrow.fs.FileSystem.from_uri(f"{scheme}://{bucket}")
            return ArrowFSWrapper(store), path.rstrip("/")
        return fsspec.core.url_to_fs(text)  # type: ignore[no-any-return]
    except ValueError as err:
        raise UsageError("The URL's scheme is unknown; use s3, gs, az or a path.") from err
    except ImportError as err:
        raise UsageError(f"URLs of {scheme} need a package of fsspec: {err}.") from err
    except OSError as err:
        raise UsageError(
            "The object store does not answer; check the URL and the credentials."
        ) from err


@dataclass(frozen=True)
class _Local:
    """A folder, image, glob or manifest on a file system of this machine."""

    path: str

    def entries(self) -> Iterator[Entry]:
        root = Path(self.path)
        listed: Iterable[tuple[Path, Placement]]
        if not root.exists() and _GLOB & set(self.path):
            folder, pattern = _split_glob(self.path)
            below = Path(folder)
            found = (each for each in sorted(below.glob(pattern)) if not is_left_out(each.name))
            listed = ((each, Placement()) for each in found if each.is_file())
        elif not root.exists():
            raise UnreadableFileError("There is nothing at SOURCE.").at(root)
        elif root.suffix.lower() == ".parquet":
            listed, below = place_rows(_parquet_rows(root), root.parent), root.parent
        else:
            listed, below = find_study(root), root if root.is_dir() else root.parent
        for path, placement in listed:
            name = path.relative_to(below) if path.is_relative_to(below) else path
            try:
                facts = path.stat()
                size, state = facts.st_size, str(facts.st_mtime_ns)
            except OSError:  # reading it gives the reason
                size, state = 0, ""
            yield Entry(name.as_posix(), str(path), size, state, placement=placement)

    def read(self, entry: Entry) -> bytes:
        return file_bytes(Path(entry.place))


@dataclass(frozen=True)
class _Remote:
    """A prefix, object or glob in an object store."""

    filesystem: Any
    path: str

    def entries(self) -> Iterator[Entry]:
        try:
            if _GLOB & set(self.path):
                names = self.filesystem.glob(self.path)
                names = [name for name in names if not is_left_out(PurePosixPath(name).name)]
                found = [self.filesystem.info(name) for name in names]
                yield from self._files(sorted(found, key=_name), _split_glob(self.path)[0])
            elif self.filesystem.isfile(self.path):
                found = [self.filesystem.info(self.path)]
                yield from self._files(found, self.path.rpartition("/")[0])
            else:
                yield from self._walk(self.path)
        except FileNotFoundError as err:
            raise UnreadableFileError("There is nothing at SOURCE.") from err
        except OSError as err:
            raise UnreadableFileError("SOURCE cannot be listed; check its credentials.") from err

    def read(self, entry: Entry) -> bytes:
        return _range(self.filesystem, entry.place, 0, entry.size)

    def _walk(self, folder: str) -> Iterator[Entry]:
        """Yield the images of a folder by name, then those of its subfolders."""
        listed = sorted(self.filesystem.ls(folder, detail=True), key=_name)
        listed = [each for each in listed if not is_left_out(PurePosixPath(each["name"]).name)]
        files = [each for each in listed if each["type"] == "file"]
        yield from self._files(
            [each for each in files if is_image(PurePosixPath(each["name"]), self._head(each))],
            self.path,
        )
        for each in listed:
            if each["type"] == "directory":
                yield from self._walk(each["name"])

    def _head(self, found: dict[str, Any]) -> "partial[bytes]":
        return partial(_range, self.filesystem, found["name"], 0)

    def _files(self, found: list[dict[str, Any]], below: str) -> Iterator[Entry]:
        for each in found:
            if each["type"] == "file":
                name = each["name"].removeprefix(below).lstrip("/")
                facts = (each.get(key) for key in ("ETag", "etag", "mtime", "created"))
                state = next((str(fact) for fact in facts if fact is not None), "")
                yield Entry(name, each["name"], each["size"] or 0, state)


@dataclass(frozen=True)
class _Zip:
    """A zip archive."""

    filesystem: Any
    path: str

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.filesystem.open(self.path, "rb"))
        except (OSError, zipfile.BadZipFile) as err:
            raise UnreadableFileError("The zip archive cannot be read.") from err

    def entries(self) -> Iterator[Entry]:
        for info in self._archive.infolist():
            name = PurePosixPath(info.filename)
            if info.is_dir() or any(map(is_left_out, name.parts)):
                continue
            if is_image(name, partial(self._read, info.filename)):
                yield Entry(str(name), info.filename, info.file_size, f"{info.CRC:08x}")

    def read(self, entry: Entry) -> bytes:
        return self._read(entry.place, _MOST_BYTES)

    def _read(self, member: str, count: int) -> bytes:
        try:
            with self._archive.open(member) as stream:
                return stream.read(count)
        # zipfile raises RuntimeError for a password and NotImplementedError for a compression.
        except (OSError, zipfile.BadZipFile, RuntimeError, KeyError, EOFError) as err:
            raise UnreadableFileError("The file cannot be read from its zip archive.") from err


@dataclass(frozen=True)
class _Tar:
    """An uncompressed tar archive; a file is read by its offset, without an index."""

    filesystem: Any
    path: str

    def entries(self) -> Iterator[Entry]:
        try:
            with (
                self.filesystem.open(self.path, "rb") as stream,
                tarfile.open(fileobj=stream, mode="r:") as archive,
            ):
                while (member := archive.next()) is not None:
                    archive.members = []  # type: ignore[attr-defined] # it would keep them all
                    entry = Entry(
                        str(PurePosixPath(member.name)),
                        self.path,
                        member.size,
                        str(member.mtime),
                        offset=member.offset_data,
                    )
                    name = PurePosixPath(entry.name)
                    if not member.isreg() or any(map(is_left_out, name.parts)):
                        continue
                    if is_image(name, partial(self._read, entry)):
                        yield entry
        except (OSError, tarfile.TarError) as err:
            raise UnreadableFileError("The tar archive cannot be read.") from err

    def read(self, entry: Entry) -> bytes:
        return self._read(entry, _MOST_BYTES)

    def _read(self, entry: Entry, count: int) -> bytes:
        return _range(self.filesystem, self.path, entry.offset, min(entry.size, count))


def _range(filesystem: Any, path: str, start: int, count: int) -> bytes:
    """Return at most `count` bytes of a file, and never more than allowed and one."""
    try:
        with filesystem.open(path, "rb") as stream:
            stream.seek(start)
            data: bytes = stream.read(min(count, _MOST_BYTES))
    except FileNotFoundError as err:
        raise UnreadableFileError("The file does not exist.") from err
    except PermissionError as err:
        raise UnreadableFileError("There is no permission to read the file.") from err
    except OSError as err:
        raise UnreadableFileError("The file cannot be read.") from err
    return data


def _split_glob(path: str) -> tuple[str, str]:
    """Split a glob into the folder above the first special character, and the pattern below it."""
    first = min(place for place, letter in enumerate(path) if letter in _GLOB)
    folder, slash, _ = path[:first].rpartition("/")
    return folder or slash, path[len(folder) + len(slash) :]


def _name(found: dict[str, Any]) -> str:
    name: str = found["name"]
    return name


def _parquet_rows(path: Path) -> Iterator[Any]:
    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            names = table.schema_arrow.names
            records = (
                ["" if value is None else str(value) for value in row.values()]
                for batch in table.iter_batches()
                for row in batch.to_pylist()
            )
            yield from rows_of(names, records, (FILE,))
    except (OSError, pyarrow.ArrowException) as err:
        raise MetadataError("The manifest cannot be read as Parquet.") from err
