"""Check that a worker of an archive has its queue, its key, its PACS and nothing else."""

from collections.abc import Iterator
from pathlib import PurePath
from urllib.parse import urlsplit

from mammoscope.errors import ConfigurationError
from mammoscope.settings.archive import ArchiveSettings, parse_dicom_address, require_a_door
from tests.deployment.agreement_metrics import METRICS
from tests.deployment.objects import Object, Workload, merged, of_kind

DICOM = "dicom"
"""Name of the listener's port."""

DATABASE_FILE = "PGSERVICEFILE"
"""Variable that names libpq's file with host, user and password."""

DATABASE_PORT = 5432


def archive_disagreements(objects: list[Object], worker: Workload) -> Iterator[str]:
    """Describe what would lose or double studies, or keep the worker from its work."""
    environment = merged(objects, worker.pod)
    try:
        settings = ArchiveSettings.from_environment({}, environment)
        require_a_door(settings)
    except ConfigurationError as err:
        yield str(err)
        return
    yield from _files(objects, worker, settings, environment.get(DATABASE_FILE))
    yield from _listening(objects, worker, settings)
    yield from _outgoing(objects, settings)
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        if worker.container.get(kind, {}).get("tcpSocket") != {"port": METRICS}:
            yield f"{kind} does not ask whether the worker listens"


def _files(
    objects: list[Object], worker: Workload, settings: ArchiveSettings, database_file: str | None
) -> Iterator[str]:
    """What a worker keeps is on a claim that no second pod uses."""
    if "secret" not in _volume(worker, settings.key_file):
        yield "no Secret brings the key"
    if not _is_shared(settings):
        database = PurePath(settings.state.removeprefix("sqlite:///"))
        yield from _own(objects, worker, database, "the queue")
    elif database_file is None or "secret" not in _volume(worker, PurePath(database_file)):
        yield "no Secret brings the password of the database"
    if settings.listen is not None:
        yield from _own(objects, worker, settings.spool, "received images")


def _is_shared(settings: ArchiveSettings) -> bool:
    return settings.state.startswith("postgresql:")


def _own(objects: list[Object], worker: Workload, path: PurePath, what: str) -> Iterator[str]:
    claim = _volume(worker, path).get("persistentVolumeClaim", {}).get("claimName")
    modes = [
        each["spec"]["accessModes"]
        for each in of_kind(objects, "PersistentVolumeClaim")
        if each["metadata"]["name"] == claim
    ]
    if modes != [["ReadWriteOncePod"]]:
        yield f"{what} may be lost, or used by two pods"
    spec = worker.source["spec"]
    if spec["replicas"] != 1 or spec["strategy"] != {"type": "Recreate"}:
        yield f"pods wait for each other's claim of {what}"


def _volume(worker: Workload, path: PurePath | None) -> Object:
    """The volume that has a path; empty if none has."""
    for mount in worker.container["volumeMounts"]:
        if path is not None and path.is_relative_to(mount["mountPath"]):
            return next(e for e in worker.pod["volumes"] if e["name"] == mount["name"])
    return {}


def _listening(objects: list[Object], worker: Workload, settings: ArchiveSettings) -> Iterator[str]:
    wanted = {METRICS: int((settings.metrics_bind or ":0").rpartition(":")[2])}
    if settings.listen is not None:
        wanted[DICOM] = parse_dicom_address(settings.listen).port
    if worker.ports != wanted:
        yield f"the worker listens on {wanted}, its ports are {worker.ports}"
    rules = [rule for each in of_kind(objects, "NetworkPolicy") for rule in each["spec"]["ingress"]]
    if any(not rule.get("from") for rule in rules):
        yield "the NetworkPolicy lets anybody in"
    admitted = {port["port"] for rule in rules for port in rule["ports"]}
    served = {e["targetPort"] for s in of_kind(objects, "Service") for e in s["spec"]["ports"]}
    if (DICOM in admitted, served) != ((True, {DICOM}) if DICOM in wanted else (False, set())):
        yield "the PACS cannot send, or sends to nobody"
    if bool(of_kind(objects, "PodMonitor")) != (METRICS in admitted):
        yield "the NetworkPolicy and the PodMonitor differ"


def _outgoing(objects: list[Object], settings: ArchiveSettings) -> Iterator[str]:
    rules = [rule for each in of_kind(objects, "NetworkPolicy") for rule in each["spec"]["egress"]]
    allowed = {port["port"] for rule in rules for port in rule["ports"]}
    if any(not rule.get("to") for rule in rules):
        yield "the NetworkPolicy lets the worker reach anybody"
    needed = {53}
    if settings.dicomweb is not None:
        address = urlsplit(settings.dicomweb)
        needed.add(address.port or {"http": 80, "https": 443}[address.scheme])
    if settings.send_to is not None:
        needed.add(parse_dicom_address(settings.send_to).port)
    if _is_shared(settings):
        needed.add(DATABASE_PORT)
    if allowed != needed:
        yield f"the worker needs the ports {sorted(needed)}, it may use {sorted(allowed)}"
