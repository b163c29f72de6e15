"""From a model folder to the engine that serves it."""

import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from mammoscope.errors import ArtifactMismatchError
from mammoscope.model.artifact import Artifact, Card, CompiledFiles, Method, sha256_of
from mammoscope.model.conversion import DAMAGED, convert_network, import_openvino
from mammoscope.model.engine.agreement import scores_as_compiled
from mammoscope.model.engine.inference import OpenVinoEngine
from mammoscope.settings import PerformanceMode
from mammoscope.system.cpus import available_processors

Precision = Literal["f32", "bf16"]


@dataclass(frozen=True, slots=True)
class Execution:
    """How an engine computes.

    Parameters
    ----------
    threads, performance_mode
        As `load_engine` takes them.
    precision
        Of what is not in 8 bits; ``bf16`` is for processors that compute in it.
    """

    threads: int = 0
    performance_mode: PerformanceMode = "throughput"
    precision: Precision = "f32"


_AS_SERVED: Final = Execution()

_log: Final = logging.getLogger(__name__)


def load_engine(
    artifact: Artifact,
    *,
    threads: int = 0,
    performance_mode: PerformanceMode = "throughput",
    age_from_dicom: bool = False,
) -> OpenVinoEngine:
    """Make an engine of an artifact: of what was compiled from its network, or of the network.

    Where the compiled network does not score as it did when it was compiled, the network itself
    serves, and the engine's card has nothing compiled.

    Parameters
    ----------
    artifact
        A network without a card is scored uncalibrated and named by its sha256.
    threads
        Threads to compute on; 0 means one for each processor that this process may use.
    performance_mode
        ``latency``: all threads compute one image; ``throughput``: several images are
        computed at a time, each by one or a few threads.
    age_from_dicom
        As `Engine` takes it.

    Raises
    ------
    ArtifactMismatchError
        If the network cannot be loaded or does not fit its card.
    CompilationError
        If what was compiled cannot serve, or nothing was, and Keras is not installed.
    """
    execution = Execution(threads, performance_mode)
    make = partial(make_engine, age_from_dicom=age_from_dicom)
    card = artifact.card
    if artifact.compiled is not None and card is not None:
        precision = precision_of(None if card.compiled is None else card.compiled.method)
        widened = precision == "bf16" and not computes_in_bfloat16()
        if widened:
            precision = "f32"
        engine = make(
            read_network(artifact.compiled), card, replace(execution, precision=precision)
        )
        # The same weights in float32 score as the network itself does.
        if widened or scores_as_compiled(engine):
            return engine
        _log.warning(
            "This processor computes the compiled network otherwise than the one it was compiled "
            "on; the network itself is served instead, in float, and more slowly."
        )
        card = card.model_copy(update={"compiled": None})
    model = convert_network(artifact.network)
    return make(model, card or _bare_card(artifact.network, model), execution)


def make_engine(
    model: Any,
    card: Card,
    execution: Execution = _AS_SERVED,
    *,
    age_from_dicom: bool = False,
) -> OpenVinoEngine:
    """Make an engine of an OpenVINO model; the rest is as `load_engine` has it."""
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": execution.performance_mode.upper(),
        # Processors with bfloat16 would use it unasked, whatever became of the scores.
        "INFERENCE_PRECISION_HINT": execution.precision,
        "INFERENCE_NUM_THREADS": execution.threads or available_processors(),
        # Containers on one node know nothing of each other: threads bound to processors would all
        # meet on the same first ones.
        "ENABLE_CPU_PINNING": False,
    }
    try:
        compiled = import_openvino().Core().compile_model(model, "CPU", options)
    except RuntimeError as err:
        raise ArtifactMismatchError(DAMAGED) from err
    return OpenVinoEngine(compiled, card, age_from_dicom=age_from_dicom)


def precision_of(method: Method | None) -> Precision:
    """In what a network compiled by `method` computes what is not in 8 bits."""
    return "bf16" if method == "bfloat16" else "f32"


def computes_in_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware."""
    capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in capabilities


def read_network(files: CompiledFiles) -> Any:
    """Read a compiled network as an OpenVINO model; needs no Keras.

    Raises
    ------
    ArtifactMismatchError
        If the files are no network.
    """
    core = import_openvino().Core()
    try:
        return core.read_model(files.topology, files.weights)
    except RuntimeError as err:
        raise ArtifactMismatchError(DAMAGED) from err


def _bare_card(network: Path, model: Any) -> Card:
    shape = model.input(0).partial_shape
    digest = sha256_of(network)
    return Card(
        version=f"sha256:{digest[:12]}",
        sha256=digest,
        input_size=(shape[1].get_length(), shape[2].get_length()),
    )
