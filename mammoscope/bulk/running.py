"""Run a bulk prediction on Ray: on this machine, or on a cluster.

Ray Data streams the shards from one task that lists the source to actors that predict them. Only a
summary of each shard comes back, so that the memory of this process does not depend on the number
of files.
"""

import logging
import pickle
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from pathlib import Path
from threading import Event
from typing import Any, Final

import pyarrow as pa
import ray
import ray.data
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask
from tqdm import tqdm

from mammoscope.bulk.dataset import MANIFEST_NAME, ORIGIN_NAME, Level, Origin, Part, Store
from mammoscope.bulk.levels import aggregate_division, divisions
from mammoscope.bulk.predictor import BulkJob, Parts, Predictor, load_parts
from mammoscope.bulk.shards import FIRST_IMAGES, Shard, cut, images_in, most_shards
from mammoscope.bulk.sources import NO_IMAGES, open_source
from mammoscope.errors import MammoscopeError, StorageError, UnreadableFileError, UsageError
from mammoscope.imaging.dicom import Pseudonyms
from mammoscope.model.artifact.card import Card
from mammoscope.system.progress import progress

ACTOR_CPUS: Final = 0.9
"""Processors that an actor claims. Actors that claimed all of them would leave none to the task
that lists the source, and both would wait for ever."""

ACTOR_MEMORY_BYTES: Final = 3 << 29
"""Memory that an actor claims, 1.5 GiB: Python, the engine, its images, and a process that reads.
"""

_SHARDS_AT_HAND: Final = 2
"""Shards that an actor has: while Ray brings the next one, it is busy with another."""

_PRIVATE: Final = "memory://"
"""URLs of what other processes do not see."""

_SMALL_TASK_CPUS: Final = 0.1
_POLL_S: Final = 0.1
_LOG_EVERY_S: Final = 60.0

_log: Final = logging.getLogger(__name__)

Load = Callable[[Path], Parts]


@dataclass(frozen=True, slots=True)
class BulkResult:
    """The outcome of a run.

    Parameters
    ----------
    files
        Number of files of the source, and of rows of images.
    refused
        Number of rows with an error.
    predicted
        Number of rows that this run computed; the others were there.
    breasts, patients
        Number of rows of both levels.
    """

    files: int
    refused: int
    predicted: int
    breasts: int
    patients: int


def has_results(output: str) -> bool:
    """Return whether a run can be continued there.

    Raises
    ------
    ConfigurationError
        If there are other files.
    UsageError
        If processes cannot share it, or the URL cannot be used.
    """
    if output.startswith(_PRIVATE):
        raise UsageError(
            "memory:// belongs to one process, and the results would be lost; use a path, or s3, "
            "gs or az."
        )
    return Store(output).origin() is not None


def check(job: BulkJob, card: Card) -> None:
    """Refuse what would fail once Ray runs, which takes a while to start.

    Raises
    ------
    ConfigurationError
        If the output has results of another model, source or key.
    """
    _origin(job, card, Store(job.output))


def require_images(source: str) -> None:
    """Refuse a source without images; before a key is made for it.

    Raises
    ------
    UnreadableFileError, MetadataError
        If the source cannot be listed, or has no images.
    """
    if next(open_source(source).entries(), None) is None:
        raise UnreadableFileError(NO_IMAGES)


def predict_in_bulk(job: BulkJob, card: Card, *, load: Load = load_parts) -> BulkResult:
    """Predict all files of a source that the output does not have yet; Ray must be running.

    `require_images` and `check` find sources without images and outputs with other results sooner.

    Parameters
    ----------
    job
        What to predict.
    card
        Card of the job's model.
    load
        Loads the engine and the reader in each actor.

    Raises
    ------
    ArtifactError
        If an actor cannot use the model.
    ConfigurationError
        If the output has results of another model, source or key.
    StorageError
        If a result cannot be written, or the files changed meanwhile.
    UnreadableFileError, MetadataError
        If the source cannot be listed.
    """
    store = Store(job.output)
    with _typed_errors():
        origin = _origin(job, card, store)
        if not origin.shard_images:
            _write_origin(store, origin)
        done, files = _predict(job, origin, load)
        parts = [part for part, _ in done]
        store.keep_only("image", [part.name for part in parts])
        rows = store.rows("image")
        counted = rows.count_rows() if rows is not None else 0
        if not files == counted == sum(part.rows for part in parts):
            raise StorageError(
                f"The source has {files} files and the output {counted} rows: files were added or "
                "removed meanwhile. Run the same command again."
            )
        levels = _aggregate(job, card, files)
    result = BulkResult(
        files,
        sum(part.refused for part in parts),
        sum(part.rows for part, new in done if new),
        *(sum(part.rows for part in levels[level]) for level in ("breast", "patient")),
    )
    store.write_json(
        MANIFEST_NAME,
        {
            "files": files,
            "rows": counted,
            "refused": result.refused,
            "parts": [{"name": p.name, "rows": p.rows, "refused": p.refused} for p in parts],
        },
    )
    return result


def actors() -> int:
    """Return the number of actors that fit: one a processor, as far as there is memory."""
    return max(1, sum(_fitting(node["Resources"]) for node in ray.nodes() if node["Alive"]))


def _useful_actors(source: str) -> int:
    """Return the number of actors that fit, but no more than there may be shards."""
    most = actors()
    images = sum(1 for _ in islice(open_source(source).entries(), FIRST_IMAGES + most))
    return min(most, most_shards(images))


def _fitting(resources: dict[str, float]) -> int:
    cpus, memory = resources.get("CPU", 0), resources.get("memory", 0)
    return int(min(cpus, memory // ACTOR_MEMORY_BYTES))


def _origin(job: BulkJob, card: Card, store: Store) -> Origin:
    """Return what the dataset's rows have in common; shards of a new one are not sized yet.

    A dataset whose shards are not sized counts as new: it has at most the first shard, which is
    computed again.
    """
    pseudonyms = Pseudonyms(job.key)
    local = "://" not in job.source
    source = str(Path(job.source).absolute()) if local else job.source
    origin = Origin(
        model_version=card.version,
        network=card.sha256,
        operating_point=job.operating_point,
        threshold=card.threshold(job.operating_point),
        identifiers=job.identifiers,
        source=pseudonyms.of("source", source),
        key=pseudonyms.of("key"),
    )
    before = store.origin()
    if before is None or not before.shard_images:
        return origin
    before.require_same(origin)
    return before


def _predict(job: BulkJob, origin: Origin, load: Load) -> tuple[list[tuple[Part, bool]], int]:
    """Predict all shards; return their parts, and whether they are new, and the source's files."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # Each shard a block of its own, or one actor would get all of them.
    context.target_max_block_size = 1
    listed = ray.data.read_datasource(
        _Shards(job, origin), override_num_blocks=1, num_cpus=_SMALL_TASK_CPUS
    )
    parts = listed.map_batches(
        _Actor,
        fn_constructor_args=(job, load, origin),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(
            size=_useful_actors(job.source), max_tasks_in_flight_per_actor=_SHARDS_AT_HAND
        ),
        num_cpus=ACTOR_CPUS,
        memory=ACTOR_MEMORY_BYTES,
    )
    done: list[tuple[Part, bool]] = []
    with _Report(job.source) as report, warnings.catch_warnings():
        # It counts the one task that lists, not the shards that come of it.
        warnings.filterwarnings("ignore", "The minimum number of concurrent actors")
        for batch in parts.iter_batches(batch_size=None, batch_format="pyarrow"):
            for row in batch.to_pylist():
                new = row.pop("new")
                done.append((Part(**row), new))
                report.advance(row["rows"])
        return done, report.files()


def _aggregate(job: BulkJob, card: Card, files: int) -> dict[Level, list[Part]]:
    count = divisions(files)
    if count == 1:  # starting a process for it would take longer
        divided = [_division(job, card, 0, 1)]
    else:
        task = ray.remote(num_cpus=ACTOR_CPUS, max_retries=3)(_division)
        divided = ray.get([task.remote(job, card, index, count) for index in range(count)])
    store = Store(job.output)
    levels: dict[Level, list[Part]] = {}
    for level in ("breast", "patient"):
        levels[level] = [parts[level] for parts in divided]
        store.keep_only(level, [part.name for part in levels[level]])
    return levels


class _Shards(Datasource):  # type: ignore[misc]
    """Lists the shards in one task, as fast as the actors take them."""

    def __init__(self, job: BulkJob, origin: Origin) -> None:
        super().__init__()
        self._job = job
        self._origin = origin

    def estimate_inmemory_data_size(self) -> int | None:
        """Return None: nobody knows before the source is listed."""
        return None

    def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
        """Return the task."""
        job, origin = self._job, self._origin
        return [ReadTask(lambda: _listed(job, origin), BlockMetadata(None, None, None, None))]


class _Actor:
    """A `Predictor` as Ray Data calls it; an error of the model is raised by the first call.

    Ray starts actors again and again whose start fails. The actor that gets the first shard of a
    new dataset measures how long an image takes, which sizes the other shards: an actor and not the
    command, since machines of a cluster may differ.
    """

    def __init__(self, job: BulkJob, load: Load, origin: Origin) -> None:
        self._store: Final = Store(job.output)
        self._origin: Final = origin
        self._shard_s: Final = job.shard_s
        self._predictor: Predictor | None = None
        self._failure: MammoscopeError | None = None
        try:
            self._predictor = Predictor(job, load, origin.network)
        except MammoscopeError as err:
            self._failure = err

    def __call__(self, batch: pa.Table) -> pa.Table:
        if self._predictor is None:
            raise self._failure or StorageError("The actor has not started.")
        (row,) = batch.to_pylist()
        shard: Shard = pickle.loads(row["shard"])  # noqa: S301 from the task that lists
        if row["rows"] is not None:
            return _summary(Part(shard.part, row["rows"], row["refused"], 0), new=False)
        began = time.perf_counter()
        part = self._predictor.predict(shard)
        if row["sizes_others"]:
            image_s = (time.perf_counter() - began) / part.rows
            most = images_in(image_s, self._shard_s)
            _write_origin(self._store, replace(self._origin, shard_images=most))
        return _summary(part, new=True)


def _summary(part: Part, *, new: bool) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "name": part.name,
                "rows": part.rows,
                "refused": part.refused,
                "unread": part.unread,
                "new": new,
            }
        ]
    )


_LISTED: Final = pa.schema(
    [
        ("shard", pa.binary()),
        ("rows", pa.int64()),
        ("refused", pa.int64()),
        ("sizes_others", pa.bool_()),
    ]
)


def _listed(job: BulkJob, origin: Origin) -> Iterator[pa.Table]:
    """Yield the shards; one that the output has carries its numbers, and no files."""
    store = Store(job.output)
    sized = origin.shard_images > 0
    shards = cut(
        open_source(job.source).entries(), lambda: origin.shard_images or _shard_images(store)
    )
    for number, shard in enumerate(shards):
        row: dict[str, Any] = {"shard": pickle.dumps(shard), "rows": None, "refused": None}
        part = store.part("image", shard.part) if sized or number else None
        if part is not None and part.rows == len(shard.entries) and part.unread == 0:
            there = pickle.dumps(Shard(shard.part, ()))
            row = {"shard": there, "rows": part.rows, "refused": part.refused}
        row["sizes_others"] = not sized and number == 0
        yield pa.Table.from_pylist([row], schema=_LISTED)


def _shard_images(store: Store) -> int:
    """Wait until the actor with the first shard has measured how many images others may have."""
    while (origin := store.origin()) is None or not origin.shard_images:
        time.sleep(_POLL_S)
    return origin.shard_images


def _write_origin(store: Store, origin: Origin) -> None:
    store.write_json(ORIGIN_NAME, {name: getattr(origin, name) for name in origin.__slots__})


def _count(source: str, ended: Event) -> int:
    return sum(1 for _ in takewhile(lambda _: not ended.is_set(), open_source(source).entries()))


def _division(job: BulkJob, card: Card, index: int, count: int) -> dict[Level, Part]:
    return aggregate_division(Store(job.output), card, job.operating_point, index, count)


@contextmanager
def _typed_errors() -> Iterator[None]:
    """Raise the error of a task or actor itself, without Ray's wrapping."""
    try:
        yield
    except ray.exceptions.RayError as err:
        cause: BaseException | None = err
        while cause is not None and not isinstance(cause, MammoscopeError):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if cause is None:
            raise
        raise cause from None


class _Report:
    """Progress: a bar with the time left, and without a terminal a line a minute.

    The number of files is known once a thread has counted them. It starts after the first images,
    so that it does not delay the start of the actors.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._counter = ThreadPoolExecutor(1)
        self._ended = Event()
        self._counting: Future[int] | None = None
        self._bar: tqdm[Any] = progress((), 0)
        self._done = 0
        self._began = self._logged = time.monotonic()

    def __enter__(self) -> "_Report":
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()  # or the process would count to the end before it exits
        self._counter.shutdown(wait=False)
        self._bar.close()

    def advance(self, images: int) -> None:
        """Note that `images` more are done."""
        self._done += images
        self._counting = self._counting or self._counter.submit(_count, self._source, self._ended)
        if not self._bar.total and self._counting.done():
            self._bar.total = self._counting.result()
        self._bar.update(images)
        now = time.monotonic()
        if self._bar.disable and now - self._logged >= _LOG_EVERY_S:
            self._logged = now
            _log.info("%s", self._line(now - self._began))

    def files(self) -> int:
        """Return the number of files of the source; 0 if none was done."""
        return self._counting.result() if self._counting else 0

    def _line(self, took_s: float) -> str:
        total = self._bar.total
        if not total:
            return f"{self._done} images done; the others are still being counted."
        left_min = (total - self._done) * took_s / self._done / 60
        return f"{self._done} of {total} images done, about {left_min:.0f} minutes left."
