"""What an actor does: read the files of a shard, predict them, and write their part."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from mammoscope.bulk.dataset import Part, Store
from mammoscope.bulk.shards import MOST_SECONDS, Shard
from mammoscope.bulk.sources import Entry, open_source
from mammoscope.errors import ArtifactMismatchError, ImageError, MammoscopeError
from mammoscope.evaluation.evaluate import map_ahead
from mammoscope.imaging.dicom import Pseudonyms
from mammoscope.imaging.network_input import NetworkInput, Reader
from mammoscope.imaging.pool import ReadingPool
from mammoscope.model.engine import Engine
from mammoscope.studies import Placement, Refusal, RefusedImage, StudyImage, predict_image

_AHEAD: Final = 2
"""Images of an actor at a time: one is read while the network runs on another."""

_INTERNAL: Final = "An internal error; the same command tries this file again."


@dataclass(frozen=True, slots=True)
class BulkJob:
    """What to predict, with what, and to where; the same for all actors.

    Parameters
    ----------
    source
        Path, glob or URL.
    output
        Path or URL of the dataset.
    model
        Path for `mammoscope.model.artifact.folder.load_artifact`, valid on every machine.
    operating_point
        Operating point of the card whose threshold decides the label.
    key
        At least 16 bytes, for pseudonyms.
    identifiers
        Whether the output has file names, content hashes and a manifest's patients as they are.
    shard_s
        Work in a shard of a new dataset at most, in seconds of one actor.
    """

    source: str
    output: str
    model: Path
    operating_point: str
    key: bytes
    identifiers: bool = False
    shard_s: float = MOST_SECONDS


Parts = tuple[Engine, Reader]
"""What predicts, and what reads images for it."""


def load_parts(model: Path) -> Parts:
    """Return an engine with one stream of one thread, and one process that reads images."""
    from mammoscope.model.artifact.folder import load_artifact
    from mammoscope.model.engine import load_engine

    # Before the engine starts threads: reading processes are forked from a process without threads.
    reader = ReadingPool(1)
    return load_engine(load_artifact(model), threads=1, performance_mode="latency"), reader


class Predictor:
    """Predicts shards, one at a time.

    Parameters
    ----------
    job
        What to predict.
    load
        Loads the engine and the reader.
    network
        Expected sha256 of the network; None accepts any.

    Raises
    ------
    ArtifactError
        If the model cannot be used on this machine, or is another one.
    """

    def __init__(
        self, job: BulkJob, load: Callable[[Path], Parts] = load_parts, network: str | None = None
    ) -> None:
        self._job: Final = job
        self._engine, self._reader = load(job.model)
        if network is not None and self._engine.card.sha256 != network:
            raise ArtifactMismatchError("The model differs between the machines of the cluster.")
        self._source: Final = open_source(job.source)
        self._store: Final = Store(job.output)
        self._pseudonyms: Final = Pseudonyms(job.key)
        self._options: Final = self._engine.card.reading_options(pseudonym_key=job.key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._reader, ReadingPool):
            self._reader.close()

    def predict(self, shard: Shard) -> Part:
        """Predict the files of a shard and write their part.

        Raises
        ------
        StorageError
            If the part cannot be written. Errors of files are rows.
        """
        rows = list(map_ahead(self._row, shard.entries, workers=_AHEAD))
        return self._store.write_part("image", shard.part, rows)

    def _row(self, entry: Entry) -> dict[str, Any]:
        """Return the row of one file, whatever happens to it."""
        try:
            data = self._source.read(entry)
            content = hashlib.sha256(data).hexdigest()
            image = self._predict(entry, lambda: self._reader.read(data, self._options, _go_on))
        except ImageError as err:  # there are no bytes
            content, image = None, _refused(entry, err)
        # An actor that raises takes its whole shard along, and Ray would repeat it without end.
        except Exception:  # noqa: BLE001
            content, image = None, _refused(entry, MammoscopeError(_INTERNAL))
        placed = entry.placement.patient
        facts = image.to_json()
        if self._job.identifiers:
            facts["file"] = _in_utf8(entry.name)
        else:
            facts["file"] = self._pseudonyms.of("file", entry.name)
            content = content and self._pseudonyms.of("content", content)
            facts["patient"] = (placed and self._pseudonyms.of("patient", placed)) or image.patient
        return {
            **facts,
            "content": content,
            "study": image.study,
            "chest_wall": getattr(image, "chest_wall", None),
            "model_version": self._engine.card.version,
        }

    def _predict(self, entry: Entry, read: Callable[[], NetworkInput]) -> StudyImage:
        return predict_image(
            self._engine, entry.name, read, entry.placement, self._job.operating_point
        )


def _in_utf8(name: str) -> str:
    """Return a name as text, with escapes for bytes that are not UTF-8; a column has only text."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _go_on() -> None:
    """Nobody asks to stop reading."""


def _refused(entry: Entry, error: MammoscopeError) -> RefusedImage:
    placement: Placement = entry.placement
    return RefusedImage(
        file=entry.name,
        patient=placement.patient,
        laterality=placement.laterality,
        view=placement.view,
        error=Refusal(code=error.code, message=str(error)),
    )
