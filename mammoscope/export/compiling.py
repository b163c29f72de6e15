"""The compiled network, tried until its scores are near enough, and stored beside its .keras."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np

from mammoscope.errors import ArtifactNotFoundError, CompilationError, StorageError
from mammoscope.export.blocks import share_in_8_bits
from mammoscope.export.comparison import Reference
from mammoscope.export.comparison_images import Pixels, PreprocessedImages
from mammoscope.export.ladder import Form, Kind, Original, Trial, climb
from mammoscope.export.rounding import rounded_to_bfloat16
from mammoscope.model.artifact import (
    TOPOLOGY_NAME,
    WEIGHTS_NAME,
    Artifact,
    Card,
    CardCompiled,
    CardFile,
    CompiledFiles,
    Method,
    sha256_of,
    write_card,
)
from mammoscope.model.conversion import convert_network, import_openvino
from mammoscope.model.engine import (
    Engine,
    Execution,
    Precision,
    computes_in_bfloat16,
    make_engine,
    precision_of,
    read_network,
    score_phantoms,
)
from mammoscope.settings import PerformanceMode

_PACKAGES: Final = ("openvino", "nncf", "keras")

_WEIGHTS_OF_16_BITS: Final = ("bfloat16", "float16_weights")

_TIMED_IMAGES: Final = 9
"""Images by which the speed is measured."""

_TIMED_BATCHES: Final = 3
_TIMED_BATCH: Final = 16


def _ignore(_trial: Trial) -> None: ...


def compile_artifact(
    artifact: Artifact,
    images: PreprocessedImages,
    *,
    kind: Kind = "int8",
    report: Callable[[Trial], None] = _ignore,
) -> Card:
    """Compile an artifact's network and store it, and what it lost, in the artifact's folder.

    Tried are 8 bits, 8 bits with rounding put right layer after layer, 8 bits with the blocks left
    in float that cost most, bfloat16, float with weights of 16 bits, and float. The first whose
    scores are near enough is kept; of 8 bits with blocks in float, that which has fewest of them.

    Parameters
    ----------
    artifact
        With a card.
    images
        To take ranges of values from and to compare on.
    kind
        What to begin with: ``int8``, ``bfloat16`` (tries no 8 bits) or ``float``.
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
    folder = artifact.network.parent
    card = artifact.card.model_copy(update={"compiled": None})
    model = convert_network(artifact.network)
    float_engine = make_engine(model, card)
    calibration, comparison = (
        float_engine.infer(pixels).logits for pixels in (images.calibration, images.comparison)
    )
    original = Original(model, card, images, calibration, comparison)
    reference = Reference(card, images, comparison)
    with _work_folder(folder) as work:
        numbers = count()

        def attempt(form: Form) -> Trial:
            name = f"{next(numbers)}"
            files = CompiledFiles(work / f"{name}.xml", work / f"{name}.bin")
            _save(form.model, files, form.method)
            trial = _measure(form, files, original, reference)
            report(trial)
            return trial

        kept = climb(original, kind, attempt)
        if kept is None:
            raise CompilationError(
                "No compiled form of the network scores like the network itself."
            )
        return _install(folder, original, kept)


def _measure(form: Form, files: CompiledFiles, original: Original, reference: Reference) -> Trial:
    # What was written is what is compared.
    written = read_network(files)
    pixels = original.images.comparison
    engine = _engine(written, original.card, form.method)
    comparison = reference.compare(engine.infer(pixels).logits)
    share = share_in_8_bits(written)
    return Trial(
        form.method,
        "int8" if share else "float",
        comparison,
        share,
        form.float_blocks,
        _times_faster(
            written, form.method, original, "latency", list(pixels[:_TIMED_IMAGES, None])
        ),
        files,
        sum(path.stat().st_size for path in (files.topology, files.weights)),
    )


def _engine(model: Any, card: Card, method: Method) -> Engine:
    """An engine that scores as processors do that compute in the method's precision."""
    if _needs_rounding(method):
        return make_engine(rounded_to_bfloat16(model), card)
    return make_engine(model, card, Execution(precision=precision_of(method)))


def _needs_rounding(method: Method) -> bool:
    return method == "bfloat16" and not computes_in_bfloat16()


def _times_faster(
    model: Any,
    method: Method,
    original: Original,
    mode: PerformanceMode,
    turns: Sequence[Pixels],
) -> float:
    """Median time of the float network over that of `model`; they take turns on a busy machine."""
    both: tuple[tuple[Any, Precision], ...] = (
        (original.model, "f32"),
        (model, precision_of(method)),
    )
    engines = [
        make_engine(each, original.card, Execution(performance_mode=mode, precision=precision))
        for each, precision in both
    ]
    times: list[list[float]] = [[], []]
    for pixels in turns:
        for engine, taken in zip(engines, times, strict=True):
            started = time.perf_counter()
            engine.infer(pixels)
            taken.append(time.perf_counter() - started)
    return statistics.median(times[0]) / statistics.median(times[1])


def _save(model: Any, files: CompiledFiles, method: Method) -> None:
    try:
        # In a quantised network the constants that are not in 8 bits are few, and ranges among
        # them: rounding those would change every value.
        import_openvino().save_model(
            model, files.topology, compress_to_fp16=method in _WEIGHTS_OF_16_BITS
        )
    except RuntimeError as err:
        raise StorageError("The compiled network cannot be stored.") from err


def _install(folder: Path, original: Original, trial: Trial) -> Card:
    """Move the files beside the .keras and name them in the card."""
    card, files = original.card, trial.files
    written = read_network(files)
    many = original.images.comparison[: _TIMED_BATCHES * _TIMED_BATCH]
    compiled = CardCompiled(
        kind=trial.kind,
        source_sha256=card.sha256,
        topology=CardFile(name=TOPOLOGY_NAME, sha256=sha256_of(files.topology)),
        weights=CardFile(name=WEIGHTS_NAME, sha256=sha256_of(files.weights)),
        method=trial.method,
        comparison=trial.comparison,
        rounded=_needs_rounding(trial.method),
        share_in_8_bits=trial.share_in_8_bits,
        float_blocks=trial.float_blocks,
        speed=trial.speed,
        throughput=_times_faster(
            written, trial.method, original, "throughput", np.array_split(many, _TIMED_BATCHES)
        ),
        phantom_logits=score_phantoms(_engine(written, card, trial.method)),
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
