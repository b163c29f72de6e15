"""Tables of the worker's state, the same in SQLite and PostgreSQL."""

from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Column,
    Engine,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from mammoscope.errors import ConfigurationError

SCHEMA: Final = 1

_BUSY_S: Final = 30
"""Seconds to wait for another process that writes to an SQLite state."""

metadata: Final = MetaData()

FACTS: Final = Table(
    "facts",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", Text, nullable=False),
)
"""The schema version, and a hash that shows whether a key is the state's."""

STUDIES: Final = Table(
    "studies",
    metadata,
    # Keyed hash of (0020,000D) Study Instance UID.
    Column("id", String(24), primary_key=True),
    # The UID itself, encrypted; NULL once the work is finished.
    Column("uid", LargeBinary),
    # Id of the spool that holds received images; empty if there is none.
    Column("spool", String(32), nullable=False, default=""),
    Column("stage", String(16), nullable=False, index=True),
    # JSON list of keyed hashes of all source images' SOP Instance UIDs.
    Column("images", Text, nullable=False),
    # The archive's number of instances of the study when its images were last listed.
    Column("instances", Integer),
    # Counts changes of the images, so that a result about fewer images is not kept.
    Column("revision", Integer, nullable=False, default=0),
    # Whether images came while results were being stored.
    Column("again", Boolean, nullable=False, default=False),
    Column("model_version", Text),
    # Keyed hash of the last report's SOP Instance UID.
    Column("report", String(24)),
    Column("attempts", Integer, nullable=False, default=0),
    Column("reason_code", String(64)),
    Column("reason", Text),
    # Seconds since 1970 by the database's clock.
    Column("not_before", Float, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("owner", String(32)),
    Column("leased_until", Float, nullable=False, default=0.0),
)

RESULTS: Final = Table(
    "results",
    metadata,
    Column("study", String(24), ForeignKey("studies.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    # UIDs and bytes of the object, encrypted: it has the patient's name.
    Column("sealed", LargeBinary, nullable=False),
)
"""Encoded results that are not known to be stored yet."""


class now(FunctionElement[float]):  # noqa: N801 a function of SQL
    """Seconds since 1970 by the database's clock, the one clock that all workers share."""

    type = Float()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_of_sqlite(_element: object, _compiler: object, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_of_postgresql(_element: object, _compiler: object, **_: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


def parse_url(url: str) -> URL:
    """Return the URL of a database.

    Raises
    ------
    ConfigurationError
        If it is none of SQLite or PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    kind = parsed and parsed.get_backend_name()
    if parsed is None or kind not in ("sqlite", "postgresql"):
        # Not quoted: it may hold a password.
        raise ConfigurationError(
            "The state is not a database's URL; give sqlite:///FILE or "
            "postgresql://USER:PASSWORD@HOST/DATABASE."
        )
    if kind == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise ConfigurationError("The state must be in a file, as in sqlite:///archive.db.")
        return parsed
    return parsed.set(drivername="postgresql+psycopg")


def connect(url: URL) -> Engine:
    """Return the database; nothing is opened yet."""
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, hide_parameters=True)
    engine = create_engine(url, connect_args={"timeout": _BUSY_S}, hide_parameters=True)

    # Python's module begins transactions late; a transaction that reads first could then fail to
    # write. BEGIN IMMEDIATE waits for its turn at once.
    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
