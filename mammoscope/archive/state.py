"""The worker's queue in a database: nothing is lost, and nothing is reported twice.

A study moves from ``received`` to ``predicted``, when its encoded results are in the state, to
``stored``. It can end as ``left out``, with no image to predict, or ``failed``, with the reason.

A worker leases one study at a time and renews the lease while it works. Each step is one
transaction that holds only if the worker still has the lease; a worker that ended is replaced after
its lease. All times are the database's.
"""

import json
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from sqlalchemy import Connection, and_, case, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from mammoscope.archive.results import ResultObject
from mammoscope.archive.tables import (
    FACTS,
    RESULTS,
    SCHEMA,
    STUDIES,
    connect,
    metadata,
    now,
    parse_url,
)
from mammoscope.archive.vault import Vault, read_key
from mammoscope.errors import ConfigurationError, MammoscopeError, StateError
from mammoscope.system import schema


class Stage(StrEnum):
    """How far a study is."""

    RECEIVED = "received"
    PREDICTED = "predicted"
    STORED = "stored"
    LEFT_OUT = "left out"
    FAILED = "failed"


PENDING: Final = (Stage.RECEIVED, Stage.PREDICTED)

_PREPARING: Final = 0x4D414D4D
"""Number of the lock under which tables are made in PostgreSQL."""


class LeaseLostError(Exception):
    """Another worker has the study now, or its images have changed; the work is given up."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a door knows of a study.

    Parameters
    ----------
    study_uid
        (0020,000D) Study Instance UID.
    image_uids
        SOP Instance UIDs of its source images.
    spool
        Id of the spool that holds the images; empty if the archive does.
    instances
        The archive's number of the study's instances, for `State.instances`; None if unknown.
    """

    study_uid: str
    image_uids: Collection[str]
    spool: str = ""
    instances: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A leased study.

    Parameters
    ----------
    id
        Keyed hash of the Study Instance UID: the study's name in logs and commands.
    study_uid
        (0020,000D) Study Instance UID.
    stage
        `Stage.RECEIVED` or `Stage.PREDICTED`.
    images
        Keyed hashes of the SOP Instance UIDs of all source images.
    spool
        Id of the spool with received images, or empty.
    report
        Keyed hash of the last report's SOP Instance UID; None without a report.
    attempts
        Number of attempts, with this one.
    revision, owner
        Identify the lease.
    """

    id: str
    study_uid: str
    stage: Stage
    images: frozenset[str]
    spool: str
    report: str | None
    attempts: int
    revision: int
    owner: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed study: its id, the reason and the number of attempts."""

    id: str
    code: str
    reason: str
    attempts: int
    study_uid: str


class State:
    """The queue.

    Parameters
    ----------
    url
        ``sqlite:///FILE`` or ``postgresql://...``.
    key_file
        The state's key; None for a file beside SQLite's.
    create
        Whether to make an SQLite state that does not exist.

    Raises
    ------
    ConfigurationError
        If the URL or the key cannot be used, the state does not exist, or it was made with another
        key or by a newer version.
    StateError
        If the database cannot be reached or written.
    """

    def __init__(self, url: str, key_file: Path | None = None, *, create: bool = True) -> None:
        parsed = parse_url(url)
        if parsed.get_backend_name() == "sqlite":
            _require_place(Path(parsed.database or ""), create=create)
        if key_file is not None:
            key = read_key(key_file)
        elif parsed.get_backend_name() == "sqlite":
            key = read_key(Path(f"{parsed.database}.key"), create=True)
        else:
            raise ConfigurationError(
                "PostgreSQL needs a key file that all workers share: set "
                "MAMMOSCOPE_ARCHIVE_KEY_FILE."
            )
        self._vault: Final = Vault(key)
        self._engine: Final = connect(parsed)
        dialect = postgresql if parsed.get_backend_name() == "postgresql" else sqlite
        self._insert: Final = dialect.insert
        try:
            self._prepare()
        except BaseException:
            self._engine.dispose()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()

    def hash(self, kind: str, identifier: str) -> str:
        """Return the keyed hash of an identifier, as in the state."""
        return self._vault.hash(kind, identifier)

    def image_hashes(self, image_uids: Collection[str]) -> frozenset[str]:
        """Return the keyed hashes of images' SOP Instance UIDs."""
        return frozenset(self.hash("image", uid) for uid in image_uids)

    def instances(self, study_uid: str, model_version: str) -> int | None:
        """Number of instances at which this model knows a study's images; None if it does not."""
        with self._transaction() as connection:
            row = connection.execute(
                select(STUDIES.c.instances).where(
                    STUDIES.c.id == self.hash("study", study_uid),
                    or_(STUDIES.c.model_version == model_version, STUDIES.c.stage.in_(PENDING)),
                )
            ).one_or_none()
        return row.instances if row else None

    def note(self, sighting: Sighting, model_version: str, quiet_s: float) -> bool:
        """Enter a study's images; returns whether this makes work.

        Images that were seen before by this model make none, whatever became of them.

        Parameters
        ----------
        sighting
            The study and its images, new and old.
        model_version
            The model that would predict them.
        quiet_s
            Seconds to wait for more images.
        """
        name = self.hash("study", sighting.study_uid)
        found = self.image_hashes(sighting.image_uids)
        with self._transaction() as connection:
            connection.execute(
                self._insert(STUDIES)
                .values(
                    id=name, stage=Stage.LEFT_OUT, images="[]", not_before=now(), received_at=now()
                )
                .on_conflict_do_nothing()
            )
            row = connection.execute(
                select(STUDIES).where(STUDIES.c.id == name).with_for_update()
            ).one()
            known = frozenset(json.loads(row.images))
            values: dict[str, Any] = {}
            if sighting.instances is not None:
                values["instances"] = sighting.instances
            pending = row.stage in PENDING
            is_new = bool(found - known)
            work = bool(found) and (is_new or (not pending and row.model_version != model_version))
            if not found and not known:
                values["model_version"] = model_version
            if work:
                values |= self._changed(
                    row,
                    known | found,
                    sighting.study_uid,
                    quiet_s,
                    unsent=self._unsent(connection, name),
                )
            if sighting.spool and (work or pending):
                values["spool"] = sighting.spool
            if values:
                connection.execute(update(STUDIES).where(STUDIES.c.id == name).values(values))
        return work

    def _unsent(self, connection: Connection, name: str) -> bool:
        return connection.execute(
            select(select(RESULTS.c.study).where(RESULTS.c.study == name).exists())
        ).scalar_one()

    def _changed(
        self, row: Any, images: frozenset[str], study_uid: str, quiet_s: float, *, unsent: bool
    ) -> dict[str, Any]:
        """Values of a study that has new images or a new model."""
        values: dict[str, Any] = {
            "images": json.dumps(sorted(images)),
            "uid": self._vault.seal(study_uid.encode()),
            "again": unsent,  # results on their way are sent first
        }
        if row.stage == Stage.PREDICTED:
            return values
        values |= {"revision": row.revision + 1, "not_before": now() + quiet_s}
        if row.stage == Stage.RECEIVED:
            return values
        return values | {
            "stage": Stage.PREDICTED if unsent else Stage.RECEIVED,
            "attempts": 0,
            "received_at": now(),
            "reason": None,
            "reason_code": None,
        }

    def claim(self, spools: Collection[str], lease_s: float) -> Claim | None:
        """Lease the study that has waited longest, for `lease_s` seconds; None if none is due.

        Parameters
        ----------
        spools
            Ids of the spools that this worker can read.
        lease_s
            Seconds until another worker may take it.
        """
        due = (
            select(STUDIES.c.id)
            .where(
                STUDIES.c.stage.in_(PENDING),
                STUDIES.c.not_before <= now(),
                STUDIES.c.leased_until <= now(),
                or_(
                    STUDIES.c.stage == Stage.PREDICTED,
                    STUDIES.c.spool.in_(("", *spools)),
                ),
            )
            .order_by(STUDIES.c.not_before)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        with self._transaction() as connection:
            row = connection.execute(
                update(STUDIES)
                .where(STUDIES.c.id == due)
                .values(
                    owner=secrets.token_hex(16),
                    leased_until=now() + lease_s,
                    attempts=STUDIES.c.attempts + 1,
                )
                .returning(*STUDIES.c)
            ).one_or_none()
        if row is None:
            return None
        return Claim(
            id=row.id,
            study_uid=self._vault.open(row.uid).decode(),
            stage=Stage(row.stage),
            images=frozenset(json.loads(row.images)),
            spool=row.spool,
            report=row.report,
            attempts=row.attempts,
            revision=row.revision,
            owner=row.owner,
        )

    def renew(self, claim: Claim, lease_s: float) -> None:
        """Extend a lease; raises LeaseLostError if another worker has it."""
        self._update(claim, leased_until=now() + lease_s)

    def keep_results(
        self, claim: Claim, results: Sequence[ResultObject], model_version: str
    ) -> None:
        """Write the encoded results, before the first of them is sent.

        Raises
        ------
        LeaseLostError
            If another worker has the study, or it has new images.
        """
        with self._transaction() as connection:
            self._change(
                connection,
                claim,
                STUDIES.c.revision == claim.revision,
                stage=Stage.PREDICTED,
                model_version=model_version,
            )
            for position, result in enumerate(results):
                connection.execute(
                    RESULTS.insert().values(
                        study=claim.id, position=position, sealed=self._sealed(result)
                    )
                )

    def results(self, claim: Claim) -> list[ResultObject]:
        """Return the results that `keep_results` wrote."""
        with self._transaction() as connection:
            rows = connection.execute(
                select(RESULTS.c.sealed)
                .where(RESULTS.c.study == claim.id)
                .order_by(RESULTS.c.position)
            ).all()
        return [self._opened(row.sealed) for row in rows]

    def finish(self, claim: Claim, report_uid: str) -> None:
        """Note that all results are stored; only hashes stay.

        If images came in the meantime, the study is received again.
        """
        with self._transaction() as connection:
            again = STUDIES.c.again.is_(True)
            self._change(
                connection,
                claim,
                **{
                    **_ENDED,
                    "stage": case((again, Stage.RECEIVED), else_=Stage.STORED),
                    "uid": case((again, STUDIES.c.uid), else_=None),
                    "spool": case((again, STUDIES.c.spool), else_=""),
                    "report": self.hash("report", report_uid),
                },
            )
            connection.execute(delete(RESULTS).where(RESULTS.c.study == claim.id))

    def leave_out(self, claim: Claim, reason: MammoscopeError, model_version: str) -> None:
        """Note that a study has no image to predict."""
        with self._transaction() as connection:
            self._change(
                connection,
                claim,
                STUDIES.c.revision == claim.revision,
                **{
                    **_ENDED,
                    "stage": Stage.LEFT_OUT,
                    "uid": None,
                    "spool": "",
                    "model_version": model_version,
                    "reason_code": reason.code,
                    "reason": str(reason),
                },
            )

    def fail(self, claim: Claim, reason: MammoscopeError, model_version: str) -> None:
        """List a study as failed; `retry` takes it up again."""
        self._update(
            claim,
            stage=Stage.FAILED,
            model_version=model_version,
            leased_until=0.0,
            owner=None,
            reason_code=reason.code,
            reason=str(reason),
        )

    def postpone(self, claim: Claim, delay_s: float) -> None:
        """End a lease after a failed attempt; the study is due again after `delay_s` seconds."""
        self._update(claim, not_before=now() + delay_s, leased_until=0.0, owner=None)

    def release(self, claim: Claim) -> None:
        """End a lease as if there had been no attempt."""
        self._update(claim, leased_until=0.0, owner=None, attempts=claim.attempts - 1)

    def retry(self, ids: Collection[str] | None = None) -> int:
        """Queue failed studies again; returns their number.

        Parameters
        ----------
        ids
            Their ids, or beginnings of them; None for all.
        """
        which = [STUDIES.c.stage == Stage.FAILED]
        if ids is not None:
            which.append(or_(*(STUDIES.c.id.startswith(each, autoescape=True) for each in ids)))
        kept = select(RESULTS.c.study).where(RESULTS.c.study == STUDIES.c.id).exists()
        with self._transaction() as connection:
            return connection.execute(
                update(STUDIES)
                .where(and_(*which))
                .values(
                    stage=case((kept, Stage.PREDICTED), else_=Stage.RECEIVED),
                    attempts=0,
                    not_before=now(),
                    reason=None,
                    reason_code=None,
                )
            ).rowcount

    def counts(self) -> Mapping[Stage, int]:
        """Return the number of studies in each stage."""
        with self._transaction() as connection:
            rows = connection.execute(
                select(STUDIES.c.stage, func.count())
                # Studies without any image of interest are no studies of the queue.
                .where(STUDIES.c.images != "[]")
                .group_by(STUDIES.c.stage)
            ).all()
        found = {Stage(stage): number for stage, number in rows}
        return {stage: found.get(stage, 0) for stage in Stage}

    def pending(self) -> int:
        """Return the number of studies that are received or predicted."""
        counts = self.counts()
        return sum(counts[stage] for stage in PENDING)

    def oldest_s(self) -> float:
        """Seconds for which the oldest pending study has waited; 0 without one."""
        with self._transaction() as connection:
            waited = connection.execute(
                select(now() - func.min(STUDIES.c.received_at)).where(STUDIES.c.stage.in_(PENDING))
            ).scalar_one()
        return float(waited or 0.0)

    def failures(self) -> list[Failure]:
        """Return the failed studies, the oldest first."""
        with self._transaction() as connection:
            rows = connection.execute(
                select(STUDIES)
                .where(STUDIES.c.stage == Stage.FAILED)
                .order_by(STUDIES.c.received_at)
            ).all()
        return [
            Failure(
                row.id,
                row.reason_code,
                row.reason,
                row.attempts,
                self._vault.open(row.uid).decode(),
            )
            for row in rows
        ]

    def holds(self, spool: str, name: str) -> bool:
        """Whether the images of the study `name` in a spool are still needed."""
        with self._transaction() as connection:
            return (
                connection.execute(
                    select(STUDIES.c.id).where(
                        STUDIES.c.id == name,
                        STUDIES.c.spool == spool,
                        STUDIES.c.stage.in_((*PENDING, Stage.FAILED)),
                    )
                ).one_or_none()
                is not None
            )

    def _prepare(self) -> None:
        """Make missing tables, and check schema and key."""
        check = self.hash("check", "key")
        with self._transaction() as connection:
            if self._engine.dialect.name == "postgresql":
                # Two workers that start at once would both make the tables, and one would fail.
                connection.execute(select(func.pg_advisory_xact_lock(_PREPARING)))
            metadata.create_all(connection)
            for name, value in (("schema", str(SCHEMA)), ("key", check)):
                connection.execute(
                    self._insert(FACTS).values(name=name, value=value).on_conflict_do_nothing()
                )
            facts = {row.name: row.value for row in connection.execute(select(FACTS))}
        try:
            schema.require_known(facts["schema"], SCHEMA, "state")
        except schema.SchemaError as err:
            raise ConfigurationError(str(err)) from err
        if facts["key"] != check:
            raise ConfigurationError(
                "The state was made with another key; give the key file that it was made with."
            )

    def _update(self, claim: Claim, **values: Any) -> None:
        with self._transaction() as connection:
            self._change(connection, claim, **values)

    def _change(self, connection: Connection, claim: Claim, *which: Any, **values: Any) -> None:
        """Change a study that this worker has leased."""
        changed = connection.execute(
            update(STUDIES)
            .where(
                STUDIES.c.id == claim.id,
                STUDIES.c.owner == claim.owner,
                STUDIES.c.leased_until > now(),
                *which,
            )
            .values(values)
        ).rowcount
        if changed != 1:
            raise LeaseLostError

    def _sealed(self, result: ResultObject) -> bytes:
        uids = {key: value for key, value in asdict(result).items() if key != "data"}
        return self._vault.seal(json.dumps(uids).encode() + b"\n" + result.data)

    def _opened(self, sealed: bytes) -> ResultObject:
        uids, _, data = self._vault.open(sealed).partition(b"\n")
        return ResultObject(**json.loads(uids), data=data)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as err:
            raise StateError(
                "The worker's state cannot be read or written: no connection, no permission or no "
                "space left."
            ) from err


def _require_place(database: Path, *, create: bool) -> None:
    if not create and not database.exists():
        raise ConfigurationError(
            "There is no state in this file; give --state as the worker has it, or run the command "
            "in the worker's folder."
        )
    if not database.parent.is_dir():
        raise ConfigurationError("The state's folder does not exist; make it first.")


_ENDED: Final[Mapping[str, Any]] = {
    "again": False,
    "attempts": 0,
    "leased_until": 0.0,
    "owner": None,
    "not_before": now(),
    "reason": None,
    "reason_code": None,
}
"""What every end of the work on a study sets."""
