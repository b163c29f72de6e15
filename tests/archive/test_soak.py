"""Many studies, random kills and cut connections; then the archive has each report once.

`make soak-archive` runs this with hundreds of studies.
"""

import os
import random
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydicom.uid import generate_uid

from tests.archive.servers import Orthanc, wait_for
from tests.archive.studies import changed, study, study_uid_of
from tests.archive.workers import worker

ROOT = Path(__file__).resolve().parents[2]
STUDIES = int(os.environ.get("SOAK_STUDIES", "5"))
FLAT_STUDIES = int(os.environ.get("SOAK_FLAT_STUDIES", "12"))
MAX_GROWTH_BYTES = 48 * 2**20
"""Growth of the process over the second half of the studies that counts as noise."""


class Proxy:
    """Passes connections to a port on, and cuts some of them."""

    def __init__(self, target: int, seed: int) -> None:
        self._target = target
        self._random = random.Random(seed)
        self.cuts = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                limit = self._random.randrange(40_000) if self._random.random() < 0.15 else None
                threading.Thread(
                    target=self._pass_on, args=(connection, limit), daemon=True
                ).start()

    def _pass_on(self, client: socket.socket, limit: int | None) -> None:
        """Pass bytes in both directions; cut after `limit` of them."""
        passed = 0
        with (
            client,
            suppress(OSError),
            socket.create_connection(("127.0.0.1", self._target)) as server,
            selectors.DefaultSelector() as selector,
        ):
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    assert isinstance(key.fileobj, socket.socket)
                    data = key.fileobj.recv(1 << 16)
                    passed += len(data)
                    if limit is not None and passed > limit:
                        self.cuts += 1
                        return
                    if not data:
                        return
                    key.data.sendall(data)


@contextmanager
def cutting(port: int) -> Iterator[Proxy]:
    proxy = Proxy(port, seed=1)
    yield proxy
    proxy.close()


def copies(count: int) -> Iterator[bytes]:
    """One view of many studies: a phantom under other UIDs."""
    (image,) = study(0, views=1)
    for number in range(count):
        yield changed(
            image,
            StudyInstanceUID=generate_uid(),
            SeriesInstanceUID=generate_uid(),
            SOPInstanceUID=generate_uid(),
            PatientID=f"SOAK-{number}",
        )


def test_kills_and_cut_connections_lose_and_double_nothing(
    orthanc, tmp_path, compiled_folder
) -> None:
    images = list(copies(STUDIES))
    orthanc.store(*images)
    expected = dict.fromkeys(map(study_uid_of, images), 1)
    chance = random.Random(2)
    with cutting(orthanc.http) as proxy:
        environment = {
            **{key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"},
            "MAMMOSCOPE_MODEL": str(compiled_folder),
            "MAMMOSCOPE_ARCHIVE_STATE": f"sqlite:///{tmp_path / 'state.db'}",
            "MAMMOSCOPE_ARCHIVE_DICOMWEB": f"http://127.0.0.1:{proxy.port}/dicom-web",
            "MAMMOSCOPE_ARCHIVE_QUIET_S": "0",
            "MAMMOSCOPE_ARCHIVE_BACKOFF_S": "0.05",
            "MAMMOSCOPE_ARCHIVE_LEASE_S": "2",
            "MAMMOSCOPE_ARCHIVE_MAX_ATTEMPTS": "999",
            "MAMMOSCOPE_ARCHIVE_METRICS_BIND": "",
        }
        kills = 0
        while not _ends(environment, orthanc, chance if kills < max(2, STUDIES // 8) else None):
            kills += 1
        sys.stdout.write(f"{STUDIES} studies, {kills} kills, {proxy.cuts} cut connections\n")
    assert Counter(map(study_uid_of, orthanc.instances("SR"))) == expected


def _ends(environment: dict[str, str], orthanc: Orthanc, chance: random.Random | None) -> bool:
    """Run a worker; returns whether it ended before it was killed in the middle of its work."""
    before = _reports(orthanc)
    process = subprocess.Popen(
        [sys.executable, "-m", "mammoscope", "archive", "worker", "--until-idle",
         "--from", "2020-01-01", "--to", "2020-01-31"],
        cwd=ROOT, env=environment, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        if chance is not None:
            wait_for(lambda: process.poll() is not None or _reports(orthanc) > before)
            with suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0.05, 3.0))
            process.kill()
        status = process.wait()
    finally:
        process.kill()  # it would work on the studies of other tests
    assert status in (0, -signal.SIGKILL)
    return status == 0


def _reports(orthanc: Orthanc) -> int:
    return len(orthanc.instances("SR"))


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_memory_stays_flat(orthanc, tmp_path, engine, reader) -> None:
    sizes = []
    for image in copies(FLAT_STUDIES):
        orthanc.store(image)
    began = time.monotonic()
    with worker(tmp_path, engine, reader, dicomweb=orthanc.dicomweb) as running:
        finished = running.watcher.finished

        def measured(*given) -> None:
            finished(*given)
            sizes.append(_resident_bytes())

        running.watcher.finished = measured  # type: ignore[method-assign]
        running.run()
    assert len(sizes) == FLAT_STUDIES
    half = len(sizes) // 2
    growth = max(sizes[half:]) - max(sizes[: half + 1])
    sys.stdout.write(
        f"{FLAT_STUDIES} studies in {time.monotonic() - began:.0f} s; "
        f"memory grew by {growth / 2**20:.1f} MiB over the second half\n"
    )
    assert growth < MAX_GROWTH_BYTES
