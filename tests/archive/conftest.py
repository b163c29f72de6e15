"""Real servers on this machine: PostgreSQL, Orthanc."""

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mammoscope.imaging.pool import ReadingPool
from mammoscope.model.engine import Engine, load_engine
from tests.archive.doors import Door
from tests.archive.servers import PATIENCE_S, Orthanc, command, free_port, wait_for


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL server's empty database; the server is the tests' own."""
    programs = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))
    initdb, server = command("initdb", *programs), command("postgres", *programs)
    folder = tmp_path_factory.mktemp("postgresql")
    user: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        owner = pwd.getpwnam("postgres")
        user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    port = free_port()
    data = folder / "data"
    try:
        subprocess.run(
            [initdb, "-D", data, "-U", "tests", "--auth=trust", "--no-sync", "--encoding=UTF8"],
            check=True, stdout=subprocess.DEVNULL, cwd="/", **user,
        )  # fmt: skip
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [server, "-D", data, "-p", str(port), "-k", "", "-c", "listen_addresses=127.0.0.1",
                 "-c", "fsync=off", "-c", "max_connections=30"],
                stdout=log, stderr=log, cwd="/", **user,
            )  # fmt: skip
        try:
            url = f"postgresql://tests@127.0.0.1:{port}/postgres"
            wait_for(lambda: _answers(url))
            yield url
        finally:
            process.send_signal(signal.SIGINT)  # ends connections
            process.wait(PATIENCE_S)
    finally:
        if user:
            shutil.rmtree(folder)


def _answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture
def postgresql_state(postgresql: str) -> str:
    """The database, emptied."""
    import psycopg

    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS results, studies, facts")
    return postgresql


@pytest.fixture(scope="session")
def orthanc_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    server = Orthanc(tmp_path_factory.mktemp("orthanc"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def orthanc(orthanc_process: Orthanc) -> Orthanc:
    """An empty PACS."""
    if orthanc_process.process.poll() is not None:
        orthanc_process.start()
    orthanc_process.clear()
    return orthanc_process


@pytest.fixture(scope="session")
def reader() -> Iterator[ReadingPool]:
    with ReadingPool(2) as pool:
        yield pool


@pytest.fixture(scope="session")
def engine(reader: ReadingPool, compiled_folder: Path) -> Engine:
    """The small network; its reader was started before its threads."""
    return load_engine(compiled_folder)


@pytest.fixture
def door(tmp_path: Path, engine: Engine, reader: ReadingPool) -> Door:
    return Door(tmp_path, engine, reader)
