"""Workers as the command makes them, with a small network."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from mammoscope.archive.commitment import Commitments
from mammoscope.archive.dicomweb import DicomWeb
from mammoscope.archive.listener import Listener
from mammoscope.archive.peer import Peer
from mammoscope.archive.spool import Spool
from mammoscope.archive.state import Stage, State
from mammoscope.archive.storing import send_by_c_store, send_by_stow
from mammoscope.archive.worker import Doors, Predictor, Window, Worker
from mammoscope.imaging.pool import ReadingPool
from mammoscope.model.engine import Engine
from mammoscope.settings.archive import ArchiveSettings

WINDOW = Window(date(2019, 12, 1), date(2020, 2, 1))
"""Phantoms are of January 2020."""

QUICK = {"quiet_s": 0.0, "backoff_s": 0.02, "poll_s": 3600.0, "metrics_bind": ""}


@dataclass
class Watcher:
    stages: list[Stage] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)

    def finished(self, stage: Stage, seconds: float) -> None:
        self.stages.append(stage)

    def waited(self, code: str) -> None:
        self.waits.append(code)


@dataclass
class Running:
    worker: Worker
    state: State
    watcher: Watcher
    listener: Listener | None

    def run(self) -> list[Stage]:
        """Run until idle; returns what became of the studies."""
        self.watcher.stages.clear()
        self.worker.run(WINDOW, until_idle=True)
        return self.watcher.stages


@contextmanager
def worker(folder: Path, engine: Engine, reader: ReadingPool, **settings: Any) -> Iterator[Running]:
    """A worker with its state and spool in a folder."""
    options = {"state": f"sqlite:///{folder / 'state.db'}", "spool": folder / "spool"}
    chosen = ArchiveSettings(**{**QUICK, **options, **settings})
    with ExitStack() as opened:
        state = opened.enter_context(State(chosen.state, chosen.key_file))
        archive = spool = listener = None
        if chosen.dicomweb:
            archive = DicomWeb(chosen, 1 << 26)
            opened.callback(archive.close)
        if chosen.listen:
            spool = opened.enter_context(
                Spool(chosen.spool, chosen.spool_bytes, state.hash("spool", "key"))
            )
        commitments = None
        if chosen.send_to:
            peer = Peer(chosen)
            send = send_by_c_store(peer)
            if chosen.commitment_s:
                commitments = Commitments(peer, chosen.commitment_s)
        else:
            assert archive is not None
            send = send_by_stow(archive)
        watcher = Watcher()
        commit = commitments.require if commitments else None
        doors = Doors(archive, spool, send, commit)
        made = Worker(chosen, state, doors, Predictor(engine, reader), watcher)
        opened.callback(made.close)
        if spool is not None:
            listener = Listener(chosen, spool, state, made.enter, commitments)
            opened.callback(listener.close)
            listener.enter_again()
        yield Running(made, state, watcher, listener)
