"""The compiled network, tried until its scores are near enough, and stored beside its .keras."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal

from mammoscope.artifact import (
    TOPOLOGY_NAME,
    WEIGHTS_NAME,
    Artifact,
    Card,
    CardComparison,
    CardCompiled,
    CardFile,
    CompiledFiles,
    Method,
    sha256_of,
    write_card,
)
from mammoscope.compilation.comparison import Reference, loss
from mammoscope.compilation.pictures import PreparedPictures
from mammoscope.compilation.quantisation import quantise, quantise_accuracy_aware, recentre
from mammoscope.conversion import convert_network, import_openvino
from mammoscope.engine import Engine, make_engine, read_network
from mammoscope.errors import ArtifactNotFoundError, CompilationError, StorageError

Kind = Literal["int8", "float"]

_METHODS: Final[dict[Kind, tuple[Method, ...]]] = {
    "int8": (
        "quantised",
        "quantised_after_stem",
        "quantised_accuracy_aware",
        "float16_weights",
        "float32_weights",
    ),
    "float": ("float16_weights", "float32_weights"),
}
"""What is tried, the fastest first."""

_PACKAGES: Final = ("openvino", "nncf", "keras")


_TIMED_PICTURES: Final = 9
"""Pictures by which the speed is measured."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A compiled form of the network, and what became of its scores, its size and its speed.

    ``kind`` is ``float`` where the search left nothing in 8 bits; ``bytes`` is the size of its
    files, ``speed`` the float network's time over its own.
    """

    method: Method
    kind: Kind
    comparison: CardComparison
    bytes: int
    speed: float


def _ignore(_trial: Trial) -> None: ...


def compile_artifact(
    artifact: Artifact,
    pictures: PreparedPictures,
    *,
    kind: Kind = "int8",
    report: Callable[[Trial], None] = _ignore,
) -> Card:
    """Compile an artifact's network and store it, and what it lost, in the artifact's folder.

    Tried are 8 bits, 8 bits with the first layers and 8 bits with those that cost most left in
    float, float with weights of 16 bits, and float. The first whose scores are near enough is kept.

    Parameters
    ----------
    artifact
        With a card.
    pictures
        To take ranges of values from and to compare on.
    kind
        ``float`` does not try 8 bits.
    report
        Told of every trial.

    Returns
    -------
    Card
        The artifact's new one.

    Raises
    ------
    ArtifactNotFoundError
        If the artifact has no card.
    ArtifactMismatchError
        If the network cannot be loaded or does not fit its card.
    CompilationError
        If it cannot be compiled.
    ConfigurationError
        If 8 bits are asked for and nncf is not installed.
    StorageError
        If the folder cannot be written to.
    """
    if artifact.card is None:
        raise ArtifactNotFoundError("Only a model with a card can be compiled.")
    card = artifact.card.model_copy(update={"compiled": None})
    model = convert_network(artifact.network)
    float_engine = make_engine(model, card, performance_mode="latency")
    reference = Reference(card, pictures, float_engine.score(pictures.comparison).logits)
    with _work_folder(artifact.network.parent) as work:
        for method in _METHODS[kind]:
            files = CompiledFiles(work / f"{method}.xml", work / f"{method}.bin")
            _save(_made(method, model, float_engine, pictures, reference), files, method)
            # What was written is what is compared.
            written = read_network(files)
            engine = make_engine(written, card, performance_mode="latency")
            trial = Trial(
                method,
                _kind(written),
                reference.compare(engine.score(pictures.comparison).logits),
                sum(path.stat().st_size for path in (files.topology, files.weights)),
                _speed(engine, float_engine, pictures),
            )
            report(trial)
            if loss(trial.comparison) <= 1.0:
                return _install(artifact.network.parent, card, files, trial)
    raise CompilationError("No compiled form of the network scores like the network itself.")


def _made(
    method: Method,
    model: Any,
    float_engine: Engine,
    pictures: PreparedPictures,
    reference: Reference,
) -> Any:
    if method in ("quantised", "quantised_after_stem"):
        made = quantise(model, pictures, stem=method == "quantised")
        return recentre(made, float_engine, pictures)
    if method == "quantised_accuracy_aware":
        aware = quantise_accuracy_aware(model, float_engine.card, pictures, reference)
        return recentre(aware, float_engine, pictures)
    return model


def _kind(model: Any) -> Kind:
    types = {node.get_type_name() for node in model.get_ops()}
    return "int8" if "FakeQuantize" in types else "float"


def _speed(engine: Engine, float_engine: Engine, pictures: PreparedPictures) -> float:
    """Median time of `float_engine` over that of `engine`; they take turns on a busy machine."""
    times: dict[Engine, list[float]] = {engine: [], float_engine: []}
    for picture in pictures.comparison[:_TIMED_PICTURES]:
        for each, taken in times.items():
            started = time.perf_counter()
            each.score(picture[None])
            taken.append(time.perf_counter() - started)
    return statistics.median(times[float_engine]) / statistics.median(times[engine])


def _save(model: Any, files: CompiledFiles, method: Method) -> None:
    try:
        # In a quantised network the constants that are not in 8 bits are few, and ranges among
        # them: rounding those would change every value.
        import_openvino().save_model(
            model, files.topology, compress_to_fp16=method == "float16_weights"
        )
    except RuntimeError as err:
        raise StorageError("The compiled network cannot be stored.") from err


def _install(folder: Path, card: Card, files: CompiledFiles, trial: Trial) -> Card:
    """Move the files beside the .keras and name them in the card."""
    compiled = CardCompiled(
        kind=trial.kind,
        source_sha256=card.sha256,
        topology=CardFile(name=TOPOLOGY_NAME, sha256=sha256_of(files.topology)),
        weights=CardFile(name=WEIGHTS_NAME, sha256=sha256_of(files.weights)),
        method=trial.method,
        comparison=trial.comparison,
        speed=trial.speed,
        packages=_versions(),
    )
    try:
        # Without compiled network the card fits whatever lies beside it, so that at no moment the
        # folder is one that would be refused.
        write_card(folder, card)
        files.weights.replace(folder / WEIGHTS_NAME)
        files.topology.replace(folder / TOPOLOGY_NAME)
    except OSError as err:
        raise StorageError("The compiled network cannot be stored.") from err
    new = card.model_copy(update={"compiled": compiled})
    write_card(folder, new)
    return new


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


@contextmanager
def _work_folder(beside: Path) -> Iterator[Path]:
    """A folder on the same disk, so that files can be moved in one step; gone afterwards."""
    try:
        work = tempfile.TemporaryDirectory(prefix=".compile-", dir=beside)
    except OSError as err:
        raise StorageError("The model's folder cannot be written to.") from err
    with work as path:
        yield Path(path)
