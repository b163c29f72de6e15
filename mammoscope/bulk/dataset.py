"""The output: one Parquet dataset with a folder a level, written part by part.

``OUT/level=image/`` has a part for each shard, ``level=breast/`` and ``level=patient/`` those of
the second pass. Files whose names begin with an underscore describe the dataset; readers of Parquet
skip them.
"""

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet

from mammoscope.bulk.sources import connect
from mammoscope.errors import ConfigurationError, StorageError
from mammoscope.system import schema
from mammoscope.system.files import json_text, replacing

ORIGIN_NAME: Final = "_origin.json"
MANIFEST_NAME: Final = "_manifest.json"

_SCHEMA: Final = 1
"""Schema of both files and of the columns."""

Level = Literal["image", "breast", "patient"]

COLUMNS: Final = pa.schema(
    [
        ("file", pa.string()),
        ("content", pa.string()),
        ("patient", pa.string()),
        ("study", pa.string()),
        ("laterality", pa.string()),
        ("view", pa.string()),
        ("chest_wall", pa.string()),
        ("label", pa.string()),
        ("probability", pa.float64()),
        ("threshold", pa.float64()),
        ("logit", pa.float64()),
        ("images", pa.int64()),
        ("missing_views", pa.list_(pa.string())),
        ("warnings", pa.list_(pa.string())),
        ("error", pa.struct([("code", pa.string()), ("message", pa.string())])),
        ("model_version", pa.string()),
    ]
)
"""Columns of all levels: those of ``predict --study``, and where the image and the study come from.
A column that a level does not have is null."""

UNREAD: Final = ("unreadable_file", "internal_error")
"""Errors that another attempt may not have: a part with one of them is computed again."""

_REFUSED_KEY: Final = b"refused"
_UNREAD_KEY: Final = b"unread"


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is there.

    Parameters
    ----------
    name
        Its file.
    rows
        Number of rows.
    refused
        Number of rows with an error.
    unread
        Number of rows with an error of `UNREAD`.
    """

    name: str
    rows: int
    refused: int
    unread: int


@dataclass(frozen=True, slots=True)
class Origin:
    """What all rows of a dataset have in common; only such rows may be added to it.

    Parameters
    ----------
    model_version, network
        Version of the model, and sha256 of its network.
    operating_point, threshold
        What decided the labels of images.
    identifiers
        Whether names and patients are as they were.
    source, key
        Pseudonyms of the source's name and of a constant, to notice another source or key.
    shard_images
        Images in a shard at most.
    """

    model_version: str
    network: str
    operating_point: str
    threshold: float
    identifiers: bool
    source: str
    key: str
    shard_images: int = 0

    def require_same(self, other: Self) -> None:
        """Refuse to add rows of `other`, unless only its shards are not sized yet.

        Raises
        ------
        ConfigurationError
            If they differ; the message says in what.
        """
        ours, theirs = asdict(self), asdict(other)
        words = {
            "model_version": "model",
            "network": "model",
            "operating_point": "operating point",
            "threshold": "operating point",
            "identifiers": "choice of identifiers",
            "source": "SOURCE",
            "key": "key",
        }
        # Pseudonyms of another key differ, whatever they stand for.
        names = [name for name in words if ours[name] != theirs[name]]
        if "key" in names:
            names = ["key"]
        if names:
            raise ConfigurationError(
                f"The output has results of another {words[names[0]]} and was not changed; name "
                "another folder."
            )


class Store:
    """The folder or prefix of a dataset.

    Parameters
    ----------
    url
        Path or URL; created when something is written.
    """

    def __init__(self, url: str) -> None:
        self.filesystem, root = connect(url)
        self.root: Final = root.rstrip("/")
        self._is_local: Final = "file" in self.filesystem.protocol

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all: aside, then renamed.

        Raises
        ------
        StorageError
            If it cannot be written.
        """
        path = f"{self.root}/{name}"
        folder = path.rpartition("/")[0]
        try:
            self.filesystem.makedirs(folder, exist_ok=True)
            if self._is_local:
                with replacing(Path(path)) as target:
                    target.write_bytes(data)
                return
            aside = f"{folder}/_{secrets.token_hex(8)}.partial"
            self.filesystem.pipe_file(aside, data)
            self.filesystem.mv(aside, path)
        except OSError as err:
            raise StorageError(
                "A result cannot be written: no space left or no permission. Earlier results are "
                "kept; the same command continues."
            ) from err

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Return the content of a file; None if there is none.

        Raises
        ------
        ConfigurationError
            If the file is not one of a dataset.
        """
        try:
            content = json.loads(self.filesystem.cat_file(f"{self.root}/{name}"))
            schema.require_known(content.pop(schema.KEY), _SCHEMA, "dataset")
        except FileNotFoundError:
            return None
        except schema.SchemaError as err:
            raise ConfigurationError(str(err)) from err
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
            raise ConfigurationError(
                "The output is not a dataset of mammoscope bulk and was not changed; name another "
                "folder."
            ) from err
        return dict(content)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a file that describes the dataset."""
        self.write(name, json_text({schema.KEY: _SCHEMA, **content}).encode())

    def origin(self) -> Origin | None:
        """Return what the rows have in common; None for a new dataset.

        Raises
        ------
        ConfigurationError
            If there are other files.
        """
        content = self.read_json(ORIGIN_NAME)
        try:
            is_there = content is None and self.filesystem.isdir(self.root)
            if is_there and self.filesystem.ls(self.root, detail=False):
                raise ConfigurationError(
                    "The output has other files and was not changed; name another folder."
                )
            return None if content is None else Origin(**content)
        except (TypeError, OSError) as err:
            raise ConfigurationError("The output cannot be used; name another folder.") from err

    def write_part(self, level: Level, name: str, rows: Iterable[Mapping[str, Any]]) -> Part:
        """Write the rows of one part.

        Raises
        ------
        StorageError
            If it cannot be written.
        """
        table = pa.Table.from_pylist(list(rows), schema=COLUMNS)
        codes = [each["code"] for each in table["error"].to_pylist() if each]
        part = Part(name, len(table), len(codes), sum(code in UNREAD for code in codes))
        counts = {_REFUSED_KEY: str(part.refused), _UNREAD_KEY: str(part.unread)}
        sink = pa.BufferOutputStream()
        pyarrow.parquet.write_table(table.replace_schema_metadata(counts), sink, compression="zstd")
        self.write(f"level={level}/{name}", sink.getvalue().to_pybytes())
        return part

    def part(self, level: Level, name: str) -> Part | None:
        """Return a part by its footer; None if it is not there or not readable."""
        try:
            with self.filesystem.open(f"{self.root}/level={level}/{name}", "rb") as stream:
                footer = pyarrow.parquet.read_metadata(stream)
            counts = footer.metadata
            return Part(name, footer.num_rows, int(counts[_REFUSED_KEY]), int(counts[_UNREAD_KEY]))
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
            return None

    def parts(self, level: Level) -> list[str]:
        """Return the names of all parts of a level."""
        folder = f"{self.root}/level={level}"
        if not self.filesystem.isdir(folder):
            return []
        paths = self.filesystem.ls(folder, detail=False)
        return sorted(
            name for path in paths if (name := path.rpartition("/")[2]).startswith("part-")
        )

    def keep_only(self, level: Level, names: Iterable[str]) -> int:
        """Remove all other parts of a level; returns how many."""
        superseded = set(self.parts(level)) - set(names)
        for name in superseded:
            self.filesystem.rm_file(f"{self.root}/level={level}/{name}")
        return len(superseded)

    def rows(self, level: Level) -> "pyarrow.dataset.Dataset | None":
        """Return the rows of a level, to be scanned; None if there are none."""
        names = self.parts(level)
        if not names:
            return None
        return pyarrow.dataset.dataset(
            [f"{self.root}/level={level}/{name}" for name in names],
            schema=COLUMNS,
            filesystem=self.filesystem,
            format="parquet",
        )
