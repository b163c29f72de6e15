"""``mammoscope archive worker|status|retry|pull|push``: work with a picture archive."""

import argparse
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from mammoscope.cli.arguments import HelpFormatter, Subparsers, add_model
from mammoscope.cli.extras import require
from mammoscope.cli.output import shown
from mammoscope.errors import ConfigurationError, UsageError
from mammoscope.model.prediction import RESEARCH_USE_NOTICE
from mammoscope.settings.archive import ArchiveSettings, require_a_door
from mammoscope.settings.service import ARCHIVE_PREFIX, ReadingLimits

if TYPE_CHECKING:
    from tqdm import tqdm

    from mammoscope.archive.dicomweb import DicomWeb
    from mammoscope.archive.monitoring import Monitoring
    from mammoscope.archive.peer import Peer
    from mammoscope.archive.state import Stage, State
    from mammoscope.archive.storing import Send
    from mammoscope.archive.worker import Worker

_PACKAGES: Final = ("cryptography", "dicomweb_client", "highdicom", "pynetdicom", "sqlalchemy")
_SHOWN_DIGITS: Final = 12
_EPILOG: Final = (
    f"Further settings are environment variables {ARCHIVE_PREFIX}NAME; see the settings in the "
    "documentation."
)


def add_parsers(subparsers: Subparsers) -> None:
    """Register the commands."""
    worker = _add(subparsers, "worker", "predict an archive's studies and store the results in it")
    _add_archive(worker)
    _add_state(worker)
    worker.add_argument(
        "--listen", metavar="AET@PORT", help="receive images by C-STORE under this AE title"
    )
    worker.add_argument(
        "--from",
        dest="first",
        metavar="DATE",
        type=_day,
        help="first study date to search, as in 2015-01-31 (default: the last days)",
    )
    worker.add_argument("--to", dest="last", metavar="DATE", type=_day, help="last study date")
    worker.add_argument(
        "--until-idle", action="store_true", help="end when no study is left, for cron"
    )
    add_model(worker)
    worker.set_defaults(run=run_worker)

    status = _add(subparsers, "status", "print how many studies are in which stage")
    _add_state(status)
    status.add_argument(
        "--uids", action="store_true", help="also print Study Instance UIDs of failed studies"
    )
    status.set_defaults(run=run_status)

    retry = _add(subparsers, "retry", "queue failed studies again")
    _add_state(retry)
    retry.add_argument("ids", metavar="ID", nargs="*", help="studies, as status prints them")
    retry.add_argument("--all", action="store_true", help="all failed studies")
    retry.set_defaults(run=run_retry)

    pull = _add(subparsers, "pull", "write the mammograms of studies to a folder")
    pull.add_argument("studies", metavar="STUDY_UID", nargs="+", help="Study Instance UID")
    _add_dicomweb(pull)
    pull.add_argument("--output", metavar="DIR", type=Path, required=True, help="folder to write")
    pull.set_defaults(run=run_pull)

    push = _add(subparsers, "push", "store DICOM files, such as results, in an archive")
    push.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="file or folder")
    _add_archive(push)
    push.set_defaults(run=run_push)


def run_worker(args: argparse.Namespace) -> int:
    """Work until SIGTERM or, with ``--until-idle``, until nothing is left; 1 if a study failed.

    Raises
    ------
    ConfigurationError
        If a setting cannot be used.
    ArtifactError
        If the model cannot be used.
    ArchiveUnreachableError, StateError, StorageError
        With ``--until-idle``: if the archive, the state or the disk could not be used for long.
    """
    settings = _settings(args, "dicomweb", "state", "listen", "send_to")
    require_a_door(settings)
    if args.last is not None and args.first is None:
        raise UsageError("--to needs --from.")
    if args.last is not None and args.last < args.first:
        raise UsageError("--to is earlier than --from.")

    from mammoscope.archive.monitoring import Monitoring
    from mammoscope.archive.worker import Window

    with ExitStack() as opened:
        state = opened.enter_context(_state(settings))
        monitoring = Monitoring(state)
        watcher = opened.enter_context(_progress(state, monitoring))
        worker = opened.enter_context(_worker(args.model, settings, state, watcher))
        _serve_metrics(monitoring, settings)
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        worker.run(Window(args.first, args.last), until_idle=args.until_idle)
        failed = state.failures()
    if failed:
        sys.stderr.write(
            f"mammoscope: failed studies: {len(failed)}; mammoscope archive status lists them.\n"
        )
    return int(bool(failed))


def run_status(args: argparse.Namespace) -> int:
    """Print the queue; 0, or 1 if a study has failed.

    Raises
    ------
    ConfigurationError, StateError
        If the state cannot be used.
    """
    with _state(_settings(args, "state"), create=False) as state:
        for stage, number in state.counts().items():
            print(f"{stage:10}  {number:8}")
        print(f"oldest pending study: {state.oldest_s():.0f} s")
        failures = state.failures()
    # A URL may hold a password.
    place = f" --state {args.state}" if (args.state or "").startswith("sqlite:") else ""
    for failure in failures:
        name = failure.id[:_SHOWN_DIGITS]
        print(f"\n{name}  failed, attempts: {failure.attempts} [{failure.code}]")
        if args.uids:
            print(f"  study {failure.study_uid}")
        print(f"  {failure.reason}\n  try again: mammoscope archive retry {name}{place}")
    return int(bool(failures))


def run_retry(args: argparse.Namespace) -> int:
    """Queue failed studies again; 0, or 1 if there is none.

    Raises
    ------
    UsageError
        If neither studies nor ``--all`` are given.
    ConfigurationError, StateError
        If the state cannot be used.
    """
    if bool(args.ids) == args.all:
        raise UsageError("Give the IDs that mammoscope archive status prints, or --all.")
    with _state(_settings(args, "state"), create=False) as state:
        number = state.retry(None if args.all else args.ids)
    if args.ids and not number:
        sys.stderr.write("mammoscope: no failed study has this ID; archive status lists them.\n")
    print(f"studies queued again: {number}")
    return int(not number)


def run_pull(args: argparse.Namespace) -> int:
    """Write the mammograms of studies; prints their paths.

    Raises
    ------
    ArchiveError, StorageError
        If a study cannot be retrieved or written.
    """
    from mammoscope.archive.folders import pull

    with _dicomweb(_settings(args, "dicomweb")) as archive:
        for study in args.studies:
            for path in pull(archive, study, args.output):
                print(shown(path), flush=True)
    return 0


def run_push(args: argparse.Namespace) -> int:
    """Store files in an archive, each once.

    Raises
    ------
    UnreadableFileError
        If a file cannot be read.
    ArchiveError
        If the archive does not store an object.
    """
    from mammoscope.archive.folders import read_objects
    from mammoscope.archive.peer import Peer
    from mammoscope.archive.storing import store_results

    settings = _settings(args, "dicomweb", "send_to")
    with ExitStack() as opened:
        archive = opened.enter_context(_dicomweb(settings)) if settings.dicomweb else None
        send = _sender(Peer(settings) if settings.send_to else None, archive)
        number = 0
        for study_uid, objects in read_objects(args.paths):
            store_results(study_uid, objects, send, archive)
            number += len(objects)
    print(f"{number} objects are stored")
    return 0


class _Progress:
    """A bar on a terminal, with the time left; else nothing. Passes everything on to metrics."""

    def __init__(self, state: "State", monitoring: "Monitoring", bar: "tqdm[NoReturn]") -> None:
        self._state = state
        self._monitoring = monitoring
        self._bar = bar

    def finished(self, stage: "Stage", seconds: float) -> None:
        self._monitoring.finished(stage, seconds)
        if not self._bar.disable:
            self._bar.total = self._bar.n + 1 + self._state.pending()
            self._bar.update()

    def waited(self, code: str) -> None:
        self._monitoring.waited(code)


@contextmanager
def _progress(state: "State", monitoring: "Monitoring") -> Iterator[_Progress]:
    from tqdm import tqdm

    bar: tqdm[NoReturn] = tqdm(unit="study", disable=None, leave=False)
    with bar:
        # A line for each study would break the bar.
        _log_to_stderr(logging.INFO if bar.disable else logging.WARNING)
        yield _Progress(state, monitoring, bar)


@contextmanager
def _worker(
    model: Path, settings: ArchiveSettings, state: "State", watcher: _Progress
) -> "Iterator[Worker]":
    from mammoscope.archive.commitment import Commitments
    from mammoscope.archive.listener import Listener
    from mammoscope.archive.peer import Peer
    from mammoscope.archive.spool import Spool
    from mammoscope.archive.worker import Doors, Predictor, Worker
    from mammoscope.imaging.pool import ReadingPool
    from mammoscope.model.artifact.folder import load_artifact
    from mammoscope.model.engine import load_engine
    from mammoscope.system.cpus import available_processors

    artifact = load_artifact(model)
    with ExitStack() as opened:
        # Before the engine starts threads: reading processes are forked from a process without.
        reader = opened.enter_context(ReadingPool(available_processors()))
        predictor = Predictor(load_engine(artifact), reader)
        archive = opened.enter_context(_dicomweb(settings)) if settings.dicomweb else None
        spool = None
        if settings.listen is not None:
            spool = opened.enter_context(
                Spool(settings.spool, settings.spool_bytes, state.hash("spool", "key"))
            )
        peer = Peer(settings) if settings.send_to else None
        commitments = None
        if peer is not None and settings.commitment_s:
            commitments = Commitments(peer, settings.commitment_s)
        commit = commitments.require if commitments else None
        doors = Doors(archive, spool, _sender(peer, archive), commit)
        worker = Worker(settings, state, doors, predictor, watcher)
        opened.callback(worker.close)
        if spool is not None:
            listener = Listener(settings, spool, state, worker.enter, commitments)
            opened.callback(listener.close)
            listener.enter_again()
        yield worker


def _serve_metrics(monitoring: "Monitoring", settings: ArchiveSettings) -> None:
    from prometheus_client import make_wsgi_app

    from mammoscope.system.side_listener import listen

    application = make_wsgi_app(monitoring.registry)
    listen(application, settings.metrics_bind, "metrics", f"{ARCHIVE_PREFIX}METRICS_BIND")


def _add(subparsers: Subparsers, name: str, purpose: str) -> argparse.ArgumentParser:
    description = f"{purpose[0].upper()}{purpose[1:]}. {RESEARCH_USE_NOTICE}"
    return subparsers.add_parser(
        name, help=purpose, description=description, epilog=_EPILOG, formatter_class=HelpFormatter
    )


def _add_dicomweb(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dicomweb", metavar="URL", help="the archive's DICOMweb services")


def _add_archive(parser: argparse.ArgumentParser) -> None:
    _add_dicomweb(parser)
    parser.add_argument(
        "--send-to", metavar="AET@HOST:PORT", help="store by C-STORE there, not by STOW-RS"
    )


def _add_state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state",
        metavar="URL",
        help="database of the queue, sqlite:///FILE or postgresql://...; a URL with a password "
        f"belongs into {ARCHIVE_PREFIX}STATE",
    )


def _settings(args: argparse.Namespace, *names: str) -> ArchiveSettings:
    for package in _PACKAGES:
        require(package)
    return ArchiveSettings.from_environment({name: getattr(args, name) for name in names})


def _state(settings: ArchiveSettings, *, create: bool = True) -> "State":
    from mammoscope.archive.state import State

    return State(settings.state, settings.key_file, create=create)


def _day(given: str) -> date:
    try:
        return date.fromisoformat(given)
    except ValueError as err:
        raise argparse.ArgumentTypeError(f"no date as in 2015-01-31: {given}") from err


@contextmanager
def _dicomweb(settings: ArchiveSettings) -> "Iterator[DicomWeb]":
    from mammoscope.archive.dicomweb import DicomWeb

    archive = DicomWeb(settings, ReadingLimits().max_image_bytes)
    try:
        yield archive
    finally:
        archive.close()


def _sender(peer: "Peer | None", archive: "DicomWeb | None") -> "Send":
    from mammoscope.archive.storing import send_by_c_store, send_by_stow

    if peer is not None:
        return send_by_c_store(peer)
    if archive is None:
        raise ConfigurationError("Give --dicomweb URL or --send-to AET@HOST:PORT.")
    return send_by_stow(archive)


def _log_to_stderr(level: int) -> None:
    """Log one JSON object a line, as the service does."""
    import structlog

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
