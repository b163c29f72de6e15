"""Workers that listen, and dcmtk's storescu that sends to them."""

import subprocess
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from mammoscope.imaging.pool import ReadingPool
from mammoscope.model.engine import Engine
from tests.archive.servers import command, free_port
from tests.archive.workers import Running, worker

TITLE = "MAMMOSCOPE"


class Door:
    """A worker that listens, and dcmtk's storescu."""

    def __init__(self, folder: Path, engine: Engine, reader: ReadingPool) -> None:
        self.port = free_port()
        self._folder = folder
        self._worker = partial(
            worker, folder, engine, reader, listen=f"{TITLE}@127.0.0.1:{self.port}"
        )

    def opened(self, **settings: Any) -> AbstractContextManager[Running]:
        if "dicomweb" not in settings:
            settings.setdefault("send_to", "PACS@127.0.0.1:1")
        return self._worker(**settings)

    def send(self, *files: bytes, options=(), called=TITLE, calling="SENDER") -> int:
        """Send files; returns the sender's exit status."""
        paths = []
        for number, file in enumerate(files):
            paths.append(self._folder / f"sent-{number}.dcm")
            paths[-1].write_bytes(file)
        titles = ["-aec", called, "-aet", calling]
        return subprocess.run(
            [command("storescu"), *options, *titles, "127.0.0.1", str(self.port), *paths],
            capture_output=True,
            check=False,
        ).returncode

    def images(self) -> list[Path]:
        """The images in the spool."""
        return list(self._folder.glob("spool/*/*.dcm"))
