"""Compiled networks: made from a .keras once, and kept.

A compiled network is a folder: OpenVINO's intermediate representation of the network, and a JSON
file with what it was made from and the sha256 of both files. It stands in one of two places:

- in the model folder as `COMPILED_NAME`, where ``mammoscope compile --output`` put it;
- in the user's cache folder, where it is made when a model is first loaded.

A cached network is used only for the same .keras, precision, converter, Keras and OpenVINO.
"""

import hashlib
import logging
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Self

from pydantic import ValidationError

from mammoscope.errors import (
    ArtifactError,
    ArtifactMismatchError,
    CompilationError,
    MammoscopeError,
    StorageError,
)
from mammoscope.model.artifact.card import Precision, Sha256
from mammoscope.model.artifact.folder import Artifact, sha256_of
from mammoscope.model.conversion import DAMAGED, convert_network, import_openvino, temporary_folder
from mammoscope.settings.frozen import Frozen
from mammoscope.settings.service import cache_folder
from mammoscope.system.files import locked, replacing_folder

CONVERTER_VERSION: Final = 1
"""Version of `mammoscope.model.conversion`; every change of what it makes raises it."""

COMPILED_NAME: Final = "compiled"
"""Folder of the compiled network in a model folder."""

_CACHE_NAME: Final = "networks"
_TOPOLOGY_NAME: Final = "network.xml"
_WEIGHTS_NAME: Final = "network.bin"
_RECORD_NAME: Final = "network.json"

_log: Final = logging.getLogger(__name__)


class Origin(Frozen):
    """What a compiled network is made from, and with what.

    Parameters
    ----------
    source_sha256
        Of the .keras.
    precision
        ``bfloat16``: weights are stored in 16 bits; ``float32``: in 32.
    converter, keras, openvino
        Versions. ``keras`` is None where Keras is not installed.
    """

    source_sha256: Sha256
    precision: Precision
    converter: int
    keras: str | None
    openvino: str

    @classmethod
    def of(cls, artifact: Artifact) -> Self:
        """Origin of an artifact's compiled network, if it were made now."""
        return cls(
            source_sha256=artifact.card.sha256 if artifact.card else sha256_of(artifact.network),
            precision=artifact.precision,
            converter=CONVERTER_VERSION,
            keras=_version("keras"),
            openvino=_version("openvino") or "",
        )

    def accepts(self, other: "Origin") -> bool:
        """Whether a network of the other origin is the one wanted.

        Where Keras is not installed, its version cannot make a difference.
        """
        return other == (self if self.keras else self.model_copy(update={"keras": other.keras}))

    @property
    def key(self) -> str:
        """Name of the network's folder in the cache."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class _Record(Frozen):
    """The JSON file of a compiled network: its origin, and the sha256 of its files."""

    origin: Origin
    files: dict[str, Sha256]


def compiled_network(artifact: Artifact, cache: Path | None = None) -> Any:
    """Find an artifact's compiled network, or make it and keep it.

    Where the cache cannot be written, the network is made for this process alone.

    Parameters
    ----------
    artifact
        The model.
    cache
        Cache folder; that of the environment where None.

    Returns
    -------
    openvino.Model

    Raises
    ------
    ArtifactError
        If the .keras is no network, or there is no folder to convert it in, or the network must be
        made and Keras is not installed.
    """
    origin = Origin.of(artifact)
    beside = artifact.network.parent / COMPILED_NAME
    if (found := _read(beside, origin)) is not None:
        return found
    if origin.keras is None:
        raise CompilationError(
            "The model folder has no compiled network for these versions, and Keras, which makes "
            "one, is not installed here; run mammoscope compile --output DIR where it is."
        )
    if beside.exists():
        _log.warning(
            "The compiled network in the model folder is damaged, or was made for another model "
            "or other versions; it is not used."
        )
    try:
        return _cached(artifact, origin, cache or cache_folder())
    except OSError as err:
        _log.warning(
            "The cache folder cannot be used (%s), so the model is compiled at every start; "
            "MAMMOSCOPE_CACHE names another folder.",
            err.strerror or type(err).__name__,
        )
    return _for_this_process(artifact, origin)


def write_compiled(artifact: Artifact, folder: Path) -> None:
    """Put an artifact's compiled network into a model folder, for whoever may read the folder.

    Parameters
    ----------
    artifact
        The model.
    folder
        A model folder; a compiled network in it is replaced.

    Raises
    ------
    ArtifactError
        As `compiled_network`.
    StorageError
        If the folder cannot be written to.
    """
    _announce(artifact, "once")
    try:
        with replacing_folder(folder / COMPILED_NAME) as work:
            _make(artifact, Origin.of(artifact), work)
            work.chmod(0o755)
    except OSError as err:
        raise StorageError("The compiled network cannot be written to the folder.") from err


def _cached(artifact: Artifact, origin: Origin, cache: Path) -> Any:
    """Read the network from the cache; the first process that wants it makes it.

    Raises
    ------
    OSError
        If the cache cannot be used.
    """
    folder = _private(cache / _CACHE_NAME)
    kept = folder / origin.key
    if (found := _read(kept, origin)) is not None:
        return found
    with locked(folder / f"{origin.key}.lock"):
        # Another process may have made it while this one waited.
        if (found := _read(kept, origin)) is not None:
            return found
        if kept.exists():
            _log.warning("The cached network is damaged; it is made again.")
        _announce(artifact, "once")
        with replacing_folder(kept) as work:
            _make(artifact, origin, work)
        found = _read(kept, origin)
    if found is None:
        raise OSError(0, "what was written there cannot be read")
    return found


def _for_this_process(artifact: Artifact, origin: Origin) -> Any:
    """Make the network and keep nothing."""
    _announce(artifact, "at every start")
    with temporary_folder() as name:
        folder = Path(name)
        try:
            _make(artifact, origin, folder)
        except OSError as err:
            raise ArtifactError("The model cannot be compiled: the disk may be full.") from err
        return _parse(folder, mapped=False)


def _announce(artifact: Artifact, how_often: str) -> None:
    name = artifact.card.version if artifact.card else "without a card"
    _log.info("Compiling model %s (about 5 s, %s).", name, how_often)


def _make(artifact: Artifact, origin: Origin, folder: Path) -> None:
    """Convert the .keras and write the network and its record.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    network = convert_network(artifact.network)
    try:
        import_openvino().save_model(
            network, folder / _TOPOLOGY_NAME, compress_to_fp16=origin.precision == "bfloat16"
        )
    except RuntimeError as err:
        raise OSError(0, "the network cannot be written") from err
    files = {name: sha256_of(folder / name) for name in (_TOPOLOGY_NAME, _WEIGHTS_NAME)}
    record = _Record(origin=origin, files=files)
    (folder / _RECORD_NAME).write_text(record.model_dump_json(indent=2) + "\n", "utf-8")


def _read(folder: Path, origin: Origin) -> Any | None:
    """Read a compiled network; None if there is none of this origin, or it is damaged."""
    try:
        record = _Record.model_validate_json((folder / _RECORD_NAME).read_bytes())
        if not origin.accepts(record.origin) or set(record.files) != {
            _TOPOLOGY_NAME,
            _WEIGHTS_NAME,
        }:
            return None
        if any(sha256_of(folder / name) != digest for name, digest in record.files.items()):
            return None
        return _parse(folder)
    except (OSError, ValidationError, MammoscopeError):
        return None


def _parse(folder: Path, *, mapped: bool = True) -> Any:
    core = import_openvino().Core()
    core.set_property({"ENABLE_MMAP": mapped})
    try:
        return core.read_model(folder / _TOPOLOGY_NAME, folder / _WEIGHTS_NAME)
    except RuntimeError as err:
        raise ArtifactMismatchError(DAMAGED) from err


def _private(folder: Path) -> Path:
    """Create a folder that only this user may enter; what lies in it is trusted.

    Raises
    ------
    OSError
        If it cannot be created, or is another user's or open to others.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "geteuid"):
        facts = folder.lstat()
        if facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
            raise PermissionError(0, "other users may write to it")
    return folder


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
