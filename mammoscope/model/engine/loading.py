"""Load a model folder into an inference engine."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from mammoscope.errors import ArtifactMismatchError
from mammoscope.model.artifact.card import Card, Precision
from mammoscope.model.artifact.folder import Artifact, load_artifact, sha256_of
from mammoscope.model.cache import CompiledNetwork, compiled_network
from mammoscope.model.conversion import DAMAGED, import_openvino
from mammoscope.model.engine.agreement import draw_phantoms, scores_as_compiled
from mammoscope.model.engine.inference import OpenVinoEngine
from mammoscope.model.fake_quantisation import remove_ranges
from mammoscope.settings.service import PerformanceMode
from mammoscope.system.cpus import available_processors

_HINTS: Final[dict[Precision, str]] = {"int8": "f32", "bfloat16": "bf16", "float32": "f32"}
"""OpenVINO's names of the precisions. In ``int8``, what has no range computes in float32."""

_CAPABILITIES: Final[dict[Precision, str]] = {
    "int8": "INT8",
    "bfloat16": "BF16",
    "float32": "FP32",
}
"""OpenVINO's names of what a CPU needs for them."""


@dataclass(frozen=True, slots=True)
class Execution:
    """Execution settings of an engine.

    Parameters
    ----------
    threads, performance_mode
        As in `load_engine`.
    precision
        See `computes_in`.
    """

    threads: int = 0
    performance_mode: PerformanceMode = "throughput"
    precision: Precision = "float32"


_AS_SERVED: Final = Execution()

_log: Final = logging.getLogger(__name__)


def load_engine(
    model: Path | Artifact,
    *,
    threads: int = 0,
    performance_mode: PerformanceMode = "throughput",
    age_from_dicom: bool = False,
    cache: Path | None = None,
) -> OpenVinoEngine:
    """Make an engine for a model, from its compiled network.

    The engine computes in the model's precision if the CPU supports it and gives the scores
    recorded in the card. Otherwise it computes in float32 from the same weights.

    Parameters
    ----------
    model
        A path for `load_artifact`, or its result. A network without a card is not calibrated, and
        its version is its sha256.
    threads
        Number of threads; 0 means one per processor available to this process.
    performance_mode
        ``latency``: all threads compute one image. ``throughput``: several images are computed at a
        time, each by one or a few threads.
    age_from_dicom
        As in `OpenVinoEngine`.
    cache
        Folder for compiled networks; None uses the setting's.

    Raises
    ------
    ArtifactError
        If the model cannot be found or loaded, does not match its card, or must be compiled and
        Keras is not installed.
    """
    artifact = load_artifact(model) if isinstance(model, Path) else model
    network = compiled_network(artifact, cache)
    make = partial(make_engine, network, age_from_dicom=age_from_dicom)
    card = artifact.card or _bare_card(artifact.network, network.model)
    if artifact.card is None:
        _log.warning("The model has no card: its probabilities are not calibrated.")
    if artifact.precision != "float32":
        if computes_in(artifact.precision):
            with ThreadPoolExecutor(1) as beside:  # compiling leaves processors idle
                phantoms = beside.submit(draw_phantoms, card)
                engine = make(card, Execution(threads, performance_mode, artifact.precision))
            if scores_as_compiled(engine, phantoms.result()):
                network.release_pages()
                return engine
            _log.warning(
                "The compiled model gives different scores on this CPU; falling back to float."
            )
            card = card.model_copy(update={"compiled": None})
        if artifact.ranges:
            remove_ranges(network.model)
    engine = make(card, Execution(threads, performance_mode))
    network.release_pages()
    return engine


def make_engine(
    network: CompiledNetwork,
    card: Card,
    execution: Execution = _AS_SERVED,
    *,
    age_from_dicom: bool = False,
) -> OpenVinoEngine:
    """Make an engine for a compiled network; otherwise like `load_engine`."""
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": execution.performance_mode.upper(),
        # CPUs with bfloat16 would use it by default, whatever the effect on scores.
        "INFERENCE_PRECISION_HINT": _HINTS[execution.precision],
        "INFERENCE_NUM_THREADS": execution.threads or available_processors(),
        # Containers on a node do not know of each other: if threads were bound to processors, all
        # containers would bind to the same ones.
        "ENABLE_CPU_PINNING": False,
    }
    try:
        compiled = import_openvino().Core().compile_model(network.model, "CPU", options)
    except RuntimeError as err:
        raise ArtifactMismatchError(DAMAGED) from err
    return OpenVinoEngine(compiled, card, age_from_dicom=age_from_dicom, weights=network.weights)


def computes_in(precision: Precision) -> bool:
    """Whether this CPU computes in a precision in hardware."""
    capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return _CAPABILITIES[precision] in capabilities


def _bare_card(network: Path, model: Any) -> Card:
    shape = model.input(0).partial_shape
    digest = sha256_of(network)
    return Card(
        version=f"sha256:{digest[:12]}",
        sha256=digest,
        input_size=(shape[1].get_length(), shape[2].get_length()),
        channels="three" if shape[3].get_length() == 3 else "ranks",
    )
