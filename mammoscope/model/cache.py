"""Compile networks from .keras files once, and cache the result.

A compiled network is a folder with OpenVINO's intermediate representation, and a JSON file that
records its origin and the sha256 of both files. It is in one of two places:

- the model folder, as `COMPILED_NAME`, written by ``mammoscope compile --output``;
- the user's cache folder, written when a model is first loaded.

A cached network is used only for the same .keras, precision, converter, Keras and OpenVINO.
"""

import hashlib
import json
import logging
import mmap
import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
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

CONVERTER_VERSION: Final = 3
"""Version of `mammoscope.model.conversion`; increase it with every change of the output."""

COMPILED_NAME: Final = "compiled"
"""Folder of the compiled network in a model folder."""

_CACHE_NAME: Final = "networks"
_TOPOLOGY_NAME: Final = "network.xml"
_WEIGHTS_NAME: Final = "network.bin"
_RECORD_NAME: Final = "network.json"

_log: Final = logging.getLogger(__name__)


class Origin(Frozen):
    """Source of a compiled network, and the tools that made it.

    Parameters
    ----------
    source_sha256
        SHA-256 of the .keras file.
    precision
        ``int8``: weights are stored in 8 bits, with ranges; ``bfloat16``: in 16 bits; ``float32``:
        in 32 bits.
    ranges_sha256
        SHA-256 of these ranges as JSON; they are in the card and not in the .keras.
    converter, keras, openvino
        Versions. ``keras`` is None if Keras is not installed.
    """

    source_sha256: Sha256
    precision: Precision
    ranges_sha256: Sha256 | None = None
    converter: int
    keras: str | None
    openvino: str

    @classmethod
    def of(cls, artifact: Artifact) -> Self:
        """Return the origin of an artifact's compiled network, if it were made now."""
        ranges = json.dumps(artifact.ranges, sort_keys=True).encode()
        return cls(
            source_sha256=artifact.card.sha256 if artifact.card else sha256_of(artifact.network),
            precision=artifact.precision,
            ranges_sha256=hashlib.sha256(ranges).hexdigest() if artifact.ranges else None,
            converter=CONVERTER_VERSION,
            keras=_version("keras"),
            openvino=_version("openvino") or "",
        )

    def accepts(self, other: "Origin") -> bool:
        """Whether a network of the other origin can be used.

        If Keras is not installed here, its version is not compared.
        """
        return other == (self if self.keras else self.model_copy(update={"keras": other.keras}))

    @property
    def key(self) -> str:
        """Name of the network's folder in the cache."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class CompiledNetwork:
    """A network as OpenVINO reads it.

    Parameters
    ----------
    model
        An ``openvino.Model`` whose constants are in `weights`.
    weights
        Owner of their memory, which must live as long as the model and engines made of it: the
        mapped file, or a copy of it. None if the model has its own memory.
    """

    model: Any
    weights: mmap.mmap | bytearray | None = None

    def release_pages(self) -> None:
        """Give the memory of a mapped file back to the system.

        Engines have their own copy of the weights, in the order that their kernels need. If the
        constants are read again, the system reads them from the file.
        """
        if isinstance(self.weights, mmap.mmap):
            self.weights.madvise(mmap.MADV_DONTNEED)


class _Record(Frozen):
    """The JSON file of a compiled network: its origin, and the sha256 of its files."""

    origin: Origin
    files: dict[str, Sha256]


def compiled_network(artifact: Artifact, cache: Path | None = None) -> CompiledNetwork:
    """Find an artifact's compiled network, or compile and cache it.

    If the cache cannot be written, the network is compiled for this process only.

    Parameters
    ----------
    artifact
        The model.
    cache
        Cache folder; None uses that of the environment.

    Raises
    ------
    ArtifactError
        If the .keras is not a network, no folder is available for conversion, or the network must
        be compiled and Keras is not installed.
    """
    origin = Origin.of(artifact)
    beside = artifact.network.parent / COMPILED_NAME
    if (found := _read(beside, origin)) is not None:
        return found
    if origin.keras is None:
        raise CompilationError(
            "The model folder has no compiled network for these versions, and Keras, which is "
            "needed to compile it, is not installed here. Run mammoscope compile --output DIR "
            "where Keras is installed."
        )
    if beside.exists():
        _log.warning(
            "The compiled network in the model folder is damaged, or belongs to another model or "
            "other versions; it is ignored."
        )
    try:
        return _cached(artifact, origin, cache or cache_folder())
    except OSError as err:
        _log.warning(
            "The cache folder cannot be used (%s), so the model is compiled at every start. Set "
            "MAMMOSCOPE_CACHE to another folder.",
            err.strerror or type(err).__name__,
        )
    return _for_this_process(artifact, origin)


def write_compiled(artifact: Artifact, folder: Path) -> None:
    """Write an artifact's compiled network into a model folder, for other users and machines.

    Parameters
    ----------
    artifact
        The model.
    folder
        A model folder; an existing compiled network is replaced.

    Raises
    ------
    ArtifactError
        As in `compiled_network`.
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


def _cached(artifact: Artifact, origin: Origin, cache: Path) -> CompiledNetwork:
    """Read the network from the cache; the first process to need it compiles it.

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
        # Another process may have compiled it in the meantime.
        if (found := _read(kept, origin)) is not None:
            return found
        if kept.exists():
            _log.warning("The cached network is damaged; compiling it again.")
        _announce(artifact, "once")
        with replacing_folder(kept) as work:
            _make(artifact, origin, work)
        found = _read(kept, origin)
    if found is None:
        raise OSError(0, "the written files cannot be read")
    return found


def _for_this_process(artifact: Artifact, origin: Origin) -> CompiledNetwork:
    """Compile the network without caching it."""
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
        If they cannot be written.
    """
    network = convert_network(artifact.network, artifact.ranges)
    try:
        import_openvino().save_model(
            network, folder / _TOPOLOGY_NAME, compress_to_fp16=origin.precision == "bfloat16"
        )
    except RuntimeError as err:
        raise OSError(0, "the network cannot be written") from err
    files = {name: sha256_of(folder / name) for name in (_TOPOLOGY_NAME, _WEIGHTS_NAME)}
    record = _Record(origin=origin, files=files)
    (folder / _RECORD_NAME).write_text(record.model_dump_json(indent=2) + "\n", "utf-8")


def _read(folder: Path, origin: Origin) -> CompiledNetwork | None:
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


def _parse(folder: Path, *, mapped: bool = True) -> CompiledNetwork:
    topology = (folder / _TOPOLOGY_NAME).read_text("utf-8")
    weights: mmap.mmap | bytearray
    with (folder / _WEIGHTS_NAME).open("rb") as file:
        # OpenVINO's binding requires writable memory; nothing writes into it.
        weights = (
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            if mapped
            else bytearray(file.read())
        )
    openvino = import_openvino()
    constants = openvino.Tensor(np.frombuffer(weights, np.uint8), shared_memory=True)
    try:
        return CompiledNetwork(openvino.Core().read_model(topology, constants), weights)
    except RuntimeError as err:
        raise ArtifactMismatchError(DAMAGED) from err


def _private(folder: Path) -> Path:
    """Create a folder that only this user can access, because its content is trusted.

    Raises
    ------
    OSError
        If it cannot be created, belongs to another user, or is open to others.
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
