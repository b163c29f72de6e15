"""The worker: find studies, predict them, store the results; again and again."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from typing import Final, NamedTuple, Protocol

import structlog

from mammoscope.archive.commitment import Commit
from mammoscope.archive.dicomweb import DicomWeb, FoundStudy
from mammoscope.archive.results import (
    RefusedSource,
    SourceImage,
    encode_results,
    predict_source,
)
from mammoscope.archive.selection import examine
from mammoscope.archive.sources import gather, predecessor
from mammoscope.archive.spool import Spool
from mammoscope.archive.state import Claim, LeaseLostError, Sighting, Stage, State
from mammoscope.archive.storing import Send, store_results
from mammoscope.errors import (
    ArchiveError,
    ArchiveRefusedError,
    ArchiveUnreachableError,
    ImageError,
    MammoscopeError,
    NotAMammogramError,
    StateError,
    StorageError,
)
from mammoscope.imaging.pool import ReadingPool
from mammoscope.model.engine import Engine
from mammoscope.settings.archive import ArchiveSettings
from mammoscope.studies import Refusal
from mammoscope.system.cpus import available_processors

_LONGEST_WAIT_S: Final = 3600.0
_IDLE_S: Final = 0.5
"""Seconds between two looks into an empty queue."""

_MOST_DOUBLINGS: Final = 20

_AT_ONCE: Final = 2
"""Studies at once: one is encoded and sent while the next is predicted."""

_WAITS: Final = (ArchiveUnreachableError, StateError, StorageError)
"""Errors that are no study's fault: the worker waits, and no attempt counts."""

_log = structlog.get_logger(__name__)


class Window(NamedTuple):
    """Study dates to search, both included; None follows today."""

    first: date | None = None
    last: date | None = None


class Doors(NamedTuple):
    """Where studies come from and results go to.

    Parameters
    ----------
    archive
        DICOMweb server to search and retrieve from, or None.
    spool
        Received images, or None.
    send
        Sends results.
    commit
        Waits for the archive's commitment to them; None asks for none.
    """

    archive: DicomWeb | None
    spool: Spool | None
    send: Send
    commit: Commit | None = None


class Predictor(NamedTuple):
    """The model's engine, and the processes that read images for it."""

    engine: Engine
    reader: ReadingPool


class Watcher(Protocol):
    """Is told what happens, for metrics and progress."""

    def finished(self, stage: Stage, seconds: float) -> None:
        """A study was stored, left out or failed, after `seconds` of work."""

    def waited(self, code: str) -> None:
        """The worker had to wait because of the error `code`."""


class Worker:
    """Takes studies from the queue, two at once.

    Parameters
    ----------
    settings
        Times and limits.
    state
        The queue.
    doors
        Where studies come from and results go to.
    predictor
        Predicts images.
    watcher
        Is told what happens.
    """

    def __init__(
        self,
        settings: ArchiveSettings,
        state: State,
        doors: Doors,
        predictor: Predictor,
        watcher: Watcher,
    ) -> None:
        self._settings: Final = settings
        self._state: Final = state
        self._archive: Final = doors.archive
        self._spool: Final = doors.spool
        self._send: Final = doors.send
        self._commit: Final = doors.commit
        self._engine: Final = predictor.engine
        self._reader: Final = predictor.reader
        self._watcher: Final = watcher
        self._stop: Final = threading.Event()
        self._searching: Final = threading.Lock()
        self._window, self._next_search = Window(), 0.0
        self._unlisted = 0
        """Studies of the last search whose images the archive did not list."""
        self._threads = ThreadPoolExecutor(available_processors() + 1, "predict")

    @property
    def model_version(self) -> str:
        """Version of the model that predicts."""
        return self._engine.card.version

    def close(self) -> None:
        """End the worker's threads."""
        self._threads.shutdown()

    def stop(self) -> None:
        """Let `run` return after the current studies."""
        self._stop.set()

    def enter(self, sighting: Sighting) -> bool:
        """Enter a study into the queue; returns whether this makes work."""
        return self._state.note(sighting, self.model_version, self._settings.quiet_s)

    def run(self, window: Window = Window(), *, until_idle: bool = False) -> None:  # noqa: B008
        """Work until `stop`, or until nothing is left.

        Parameters
        ----------
        window
            Study dates to search; by default the last days.
        until_idle
            Whether to return when the archive has been searched and no study is pending.

        Raises
        ------
        ArchiveUnreachableError, StateError, StorageError
            With `until_idle`: if the archive, the state or the disk could not be used for the
            setting ``unreachable_s``.
        ArchiveRefusedError
            With `until_idle`: if the archive did not list the images of a study.
        """
        self._window, self._next_search = window, 0.0
        with ThreadPoolExecutor(_AT_ONCE, "study") as threads:
            try:
                for ended in as_completed(
                    [threads.submit(self._work, until_idle=until_idle) for _ in range(_AT_ONCE)]
                ):
                    ended.result()
            except BaseException:
                self.stop()
                raise
        if until_idle and not self._stop.is_set():
            self._require_all_listed()

    def _work(self, *, until_idle: bool) -> None:
        """Work on one study after another, until `stop` or until nothing is left."""
        failures, failing_since = 0, 0.0
        while not self._stop.is_set():
            try:
                searched = self._search_if_due()
                worked = self._work_on_one()
                failures = 0
                if not worked:
                    if until_idle and searched and not self._state.pending():
                        return
                    self._stop.wait(_IDLE_S)
            except _WAITS as err:
                failing_since = failing_since if failures else time.monotonic()
                if until_idle and (time.monotonic() - failing_since > self._settings.unreachable_s):
                    raise
                failures += 1
                delay_s = self._delay_s(failures)
                self._watcher.waited(err.code)
                _log.warning("waiting", code=err.code, reason=str(err), seconds=round(delay_s, 1))
                self._stop.wait(delay_s)

    def _search_if_due(self) -> bool:
        """Search, if it is time; returns False while another thread searches."""
        if not self._searching.acquire(blocking=False):
            return False
        try:
            if self._archive is not None and time.monotonic() >= self._next_search:
                self.search(self._window)
                self._next_search = time.monotonic() + self._settings.poll_s
        finally:
            self._searching.release()
        return True

    def _require_all_listed(self) -> None:
        if self._unlisted:
            raise ArchiveRefusedError(
                f"The archive does not list the images of {self._unlisted} studies, which are not "
                "reported. The log names the reason; run the worker again."
            )

    def search(self, window: Window) -> None:
        """Enter the studies of a window of dates.

        A study whose images the archive does not list is asked for again in the next search.

        Raises
        ------
        ArchiveUnreachableError
            If the archive cannot be searched.
        StateError
            If the state cannot be used.
        """
        assert self._archive is not None  # noqa: S101 - `run` searches only an archive
        first = window.first or date.today() - timedelta(days=self._settings.overlap_days)  # noqa: DTZ011
        new = self._unlisted = 0
        try:
            for study in self._archive.studies(first, window.last):
                if self._stop.is_set():
                    break
                known = self._state.instances(study.uid, self.model_version)
                if known is None or known != study.instances:
                    new += self._enter_found(study)
        except ArchiveRefusedError as err:  # no study's fault
            raise ArchiveUnreachableError(str(err)) from err
        _log.info("searched", new=new, unlisted=self._unlisted)

    def _enter_found(self, study: FoundStudy) -> bool:
        assert self._archive is not None  # noqa: S101 - as in `search`
        try:
            instances = self._archive.instances(study.uid)
        except ArchiveRefusedError as err:
            self._unlisted += 1
            name = self._state.hash("study", study.uid)[:12]
            _log.warning("not_listed", study=name, code=err.code, reason=str(err))
            return False
        sources = [each.uid for each in instances if each.is_source]
        return self.enter(Sighting(study.uid, sources, instances=study.instances))

    def _work_on_one(self) -> bool:
        """Take a study as far as it comes; returns False if none is due."""
        spools = [self._spool.id] if self._spool is not None else []
        claim = self._state.claim(spools, self._settings.lease_s)
        if claim is None:
            return False
        began = time.monotonic()
        try:
            with self._renewed(claim):
                stage = self._process(claim)
        except LeaseLostError:
            # New images came, or another worker took over: what was done here is given up.
            with suppress(LeaseLostError):
                self._state.release(claim)
            return True
        except _WAITS:
            with suppress(LeaseLostError, StateError):
                self._state.release(claim)
            raise
        except MammoscopeError as err:
            stage = self._attempt_failed(claim, err)
        # Anything else is a mistake in this program; the study must not stop all others.
        except Exception as err:  # noqa: BLE001
            kind = type(err).__name__
            unknown = ArchiveError(f"An unexpected error ({kind}) occurred; please report it.")
            stage = self._attempt_failed(claim, unknown)
        if stage is not None:
            self._watcher.finished(stage, time.monotonic() - began)
            _log.info("study", study=claim.id[:12], stage=str(stage))
        return True

    def _process(self, claim: Claim) -> Stage | None:
        """Predict, store; returns the stage at the end, or None if there is more to do."""
        if claim.attempts > self._settings.max_attempts:
            # Each attempt ended with its process, which had no chance to say why.
            raise ArchiveError(
                "The worker ended during every attempt; the study may need too much memory."
            )
        if claim.stage is Stage.RECEIVED:
            files = gather(claim, self._state, self._archive, self._spool)
            reasons = [_left_out(file) for file in files]
            wanted = [file for file, why in zip(files, reasons, strict=True) if why is None]
            if not wanted:
                return self._leave_out(claim, next(filter(None, reasons), ""))
            sources = self._predict(wanted)
            refusals = [each.refusal for each in sources if isinstance(each, RefusedSource)]
            if refusals:
                _log.warning(
                    "images_refused",
                    study=claim.id[:12],
                    refused=len(refusals),
                    images=len(sources),
                    code=refusals[0].code,
                    reason=refusals[0].message,
                )
            if len(refusals) == len(sources):
                return self._refuse(claim, refusals[0])
            results = encode_results(
                sources,
                self._engine.card,
                operating_point=self._settings.operating_point,
                predecessor=predecessor(claim, self._state, self._archive),
            )
            self._state.keep_results(claim, results, self.model_version)
        results = self._state.results(claim)
        store_results(claim.study_uid, results, self._send, self._archive, self._commit)
        self._state.finish(claim, results[0].sop_instance_uid)
        self._clean(claim)
        return Stage.STORED

    def _predict(self, files: list[bytes]) -> list[SourceImage]:
        def predict(file: bytes) -> SourceImage:
            return predict_source(
                file, self._engine, self._reader.read, self._settings.operating_point
            )

        return list(self._threads.map(predict, files))

    def _leave_out(self, claim: Claim, reason: str) -> Stage:
        """End the work on a study without any mammogram."""
        why = NotAMammogramError(reason or "The study has no images any more.")
        self._state.leave_out(claim, why, self.model_version)
        self._clean(claim)
        return Stage.LEFT_OUT

    def _refuse(self, claim: Claim, refusal: Refusal) -> Stage:
        """End the work on a study of which no image can be predicted."""
        reason = (
            f"No image of the study can be predicted. {refusal.message} If images were corrected, "
            "send them again, then retry the study."
        )
        self._state.fail(claim, ImageError(reason), self.model_version)
        return Stage.FAILED

    def _attempt_failed(self, claim: Claim, error: MammoscopeError) -> Stage | None:
        _log.warning(
            "attempt_failed",
            study=claim.id[:12],
            attempt=claim.attempts,
            code=error.code,
            reason=str(error),
        )
        with suppress(LeaseLostError):
            if claim.attempts < self._settings.max_attempts:
                self._state.postpone(claim, self._delay_s(claim.attempts))
                return None
            self._state.fail(claim, error, self.model_version)
            return Stage.FAILED
        return None

    def _clean(self, claim: Claim) -> None:
        spool = self._spool
        if spool is not None and claim.spool == spool.id:
            spool.remove(claim.id, lambda: self._state.holds(spool.id, claim.id))

    def _delay_s(self, failures: int) -> float:
        """Seconds to wait after the given number of failures in a row, with jitter."""
        doubled = self._settings.backoff_s * float(1 << min(failures - 1, _MOST_DOUBLINGS))
        return min(doubled, _LONGEST_WAIT_S) * random.uniform(0.5, 1.0)

    @contextmanager
    def _renewed(self, claim: Claim) -> Iterator[None]:
        """Renew a lease in the background."""
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(self._settings.lease_s / 3):
                with suppress(StateError, LeaseLostError):  # the next step of the work finds out
                    self._state.renew(claim, self._settings.lease_s)

        thread = threading.Thread(target=renew, daemon=True, name="lease")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _left_out(file: bytes) -> str | None:
    """Why a file is no mammogram to predict; None for a mammogram.

    A file whose header cannot be read counts as one: its prediction says what is wrong.
    """
    try:
        return examine(file).left_out
    except ImageError:
        return None
