"""The compiled network, tried until its scores are near enough, and stored beside its .keras."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    sha256_of,
    write_card,
)
from mammoscope.compilation.comparison import Reference, loss
from mammoscope.compilation.pictures import PreparedPictures
from mammoscope.compilation.quantisation import quantise, quantise_accuracy_aware
from mammoscope.compilation.simplification import simplify
from mammoscope.engine import convert_network, import_openvino, make_engine, read_network
from mammoscope.errors import ArtifactNotFoundError, CompilationError, StorageError

Kind = Literal["int8", "float"]
Method = Literal["quantised", "quantised_accuracy_aware", "float16_weights", "float32_weights"]

_METHODS: Final[dict[Kind, tuple[Method, ...]]] = {
    "int8": ("quantised", "quantised_accuracy_aware", "float16_weights", "float32_weights"),
    "float": ("float16_weights", "float32_weights"),
}
"""What is tried, the fastest first."""

_PACKAGES: Final = ("openvino", "nncf", "keras")


def _ignore(_method: Method, _comparison: CardComparison) -> None: ...


def compile_artifact(
    artifact: Artifact,
    pictures: PreparedPictures,
    *,
    kind: Kind = "int8",
    report: Callable[[Method, CardComparison], None] = _ignore,
) -> Card:
    """Compile an artifact's network and store it, and what it lost, in the artifact's folder.

    Tried are 8 bits, 8 bits with the layers that cost most left in float, float with weights of 16
    bits, and float. The first whose scores are near enough is kept.

    Parameters
    ----------
    artifact
        With a card.
    pictures
        To take ranges of values from and to compare on.
    kind
        ``float`` does not try 8 bits.
    report
        Told of every comparison.

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
    exact = make_engine(model, card).score(pictures.comparison)
    reference = Reference(card, pictures, exact.logits)
    simplify(model)
    with _work_folder(artifact.network.parent) as work:
        for method in _METHODS[kind]:
            files = CompiledFiles(work / f"{method}.xml", work / f"{method}.bin")
            _save(_made(method, model, card, pictures, reference), files, method)
            # What was written is what is compared.
            scores = make_engine(read_network(files), card).score(pictures.comparison)
            comparison = reference.compare(scores.logits)
            report(method, comparison)
            if loss(comparison) <= 1.0:
                return _install(artifact.network.parent, card, files, (method, comparison))
    raise CompilationError("No compiled form of the network scores like the network itself.")


def _made(
    method: Method, model: Any, card: Card, pictures: PreparedPictures, reference: Reference
) -> Any:
    if method == "quantised":
        return quantise(model, pictures)
    if method == "quantised_accuracy_aware":
        return quantise_accuracy_aware(model, card, pictures, reference)
    return model


def _save(model: Any, files: CompiledFiles, method: Method) -> None:
    try:
        # In a quantised network the constants that are not in 8 bits are few, and ranges among
        # them: rounding those would change every value.
        import_openvino().save_model(
            model, files.topology, compress_to_fp16=method == "float16_weights"
        )
    except RuntimeError as err:
        raise StorageError("The compiled network cannot be stored.") from err


def _install(
    folder: Path, card: Card, files: CompiledFiles, outcome: tuple[Method, CardComparison]
) -> Card:
    """Move the files beside the .keras and name them in the card."""
    method, comparison = outcome
    compiled = CardCompiled(
        kind="int8" if method.startswith("quantised") else "float",
        source_sha256=card.sha256,
        topology=CardFile(name=TOPOLOGY_NAME, sha256=sha256_of(files.topology)),
        weights=CardFile(name=WEIGHTS_NAME, sha256=sha256_of(files.weights)),
        method=method,
        comparison=comparison,
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
