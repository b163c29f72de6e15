"""``make bench-engine``: compare engines on one network, and with the machine's peak."""

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import report
from benchmarks.contenders import Network
from benchmarks.environments import EnvironmentFailedError, engine_python
from benchmarks.material import images, network, preprocessed
from benchmarks.measurement import Spread
from benchmarks.starting import WorkerFailedError, run_worker
from mammoscope.model.artifact.card import Precision
from mammoscope.model.artifact.folder import load_artifact

BASELINE: Final = "Keras predict"
COMPILED: Final = "OpenVINO compiled"
_PEAKS: Final[Mapping[Precision, str]] = {
    "int8": "int8",
    "bfloat16": "bf16",
    "float32": "float32",
}
"""Name of each served precision in the matrix product measurements."""


@dataclass(frozen=True, slots=True)
class _Engine:
    """An engine: its environment, its worker, its mode and its network file."""

    name: str
    python: Callable[[], Path]
    worker: str
    how: str
    path: Callable[[Network], Path]


def _own_python() -> Path:
    """This environment's: that of the service can neither compile a network nor read ONNX."""
    return Path(sys.executable)


_ENGINES: Final = (
    _Engine(
        BASELINE,
        lambda: engine_python("tensorflow"),
        "tensorflow_engine",
        "predict",
        lambda n: n.keras,
    ),
    _Engine(
        "tf.function",
        lambda: engine_python("tensorflow"),
        "tensorflow_engine",
        "function",
        lambda n: n.keras,
    ),
    _Engine(
        "ONNX Runtime",
        lambda: engine_python("onnxruntime"),
        "onnxruntime_engine",
        "",
        lambda n: n.onnx,
    ),
    _Engine("OpenVINO float", _own_python, "openvino_engine", "float", lambda n: n.artifact),
    _Engine(COMPILED, _own_python, "openvino_engine", "served", lambda n: n.artifact),
)


def run(model: Path, *, seconds: float, rounds: int) -> dict[str, Any]:
    """Measure every engine once per round.

    Parameters
    ----------
    model
        The model folder.
    seconds
        Length of each measurement.
    rounds
        Number of rounds; each starts every engine anew.
    """
    facts = report.machine()
    served = network(model)
    artifact = load_artifact(model)
    precision = artifact.precision
    limits = run_worker(_own_python(), "limits", str(served.onnx), str(seconds))
    found: dict[str, list[dict[str, Any]]] = {engine.name: [] for engine in _ENGINES}
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="mammoscope-") as folder:
        file = Path(folder) / "images.npy"
        np.save(file, preprocessed(images(), artifact.require_card()))
        for _ in range(rounds):
            for engine in _ENGINES:
                if engine.name in failures:
                    continue
                try:
                    found[engine.name].append(_measure(engine, served, file, seconds))
                except (EnvironmentFailedError, WorkerFailedError) as err:
                    failures[engine.name] = str(err)
    return {
        "benchmark": "engine",
        "machine": facts,
        "input_size": [served.height, served.width],
        "seconds": seconds,
        "rounds": rounds,
        **summary(found, failures, limits, precision),
    }


def summary(
    found: dict[str, list[dict[str, Any]]],
    failures: dict[str, str],
    limits: dict[str, Any],
    served: Precision,
) -> dict[str, Any]:
    """Return medians, spreads and ratios of the workers' results.

    Parameters
    ----------
    found
        Results of each engine, one per round.
    failures
        Reasons why engines were not measured.
    limits
        Result of the worker ``limits``.
    served
        Precision in which the service computes.
    """
    peaks = {
        precision: max(
            ({"by": by, **_spread(rates)} for by, rates in candidates.items()),
            key=lambda candidate: candidate["median"],
        )
        for precision, candidates in limits["peaks_per_s"].items()
    }
    operations = 2 * limits["multiply_adds"]
    baseline = _figures(found[BASELINE]) if found[BASELINE] else None
    engines: dict[str, Any] = {}
    for engine in _ENGINES:
        if engine.name in failures or not found[engine.name]:
            engines[engine.name] = {"failure": failures.get(engine.name, "not measured")}
            continue
        figures = _figures(found[engine.name])
        precision = _PEAKS[served] if engine.name == COMPILED else "float32"
        achieved = figures["many_per_s"]["median"] * operations
        engines[engine.name] = {
            **figures,
            "operations_per_s": achieved,
            "peak_precision": precision,
            "share_of_peak": achieved / peaks[precision]["median"],
            **({} if baseline is None else _beside(figures, baseline)),
        }
    return {
        "operations_per_image": operations,
        "peaks_per_s": peaks,
        "peak_versions": limits["versions"],
        "compiled": served,
        "engines": engines,
    }


def text(results: dict[str, Any]) -> str:
    """Format the results as tables."""
    height, width = results["input_size"]
    giga = 1e-9
    rows = []
    for name, figures in results["engines"].items():
        if "failure" in figures:
            rows.append([name, *["–"] * 7])
            continue
        rows.append(
            [
                name,
                f"{figures['one_speed_up']:.2f}" if "one_speed_up" in figures else "–",
                f"{figures['many_speed_up']:.2f}" if "many_speed_up" in figures else "–",
                report.spread_cell(Spread(**figures["one_s"]), 1, 1000),
                report.spread_cell(Spread(**figures["many_per_s"]), 2),
                figures["many_how"],
                f"{figures['share_of_peak']:.0%} of {figures['peak_precision']}",
                f"{figures.get('largest_logit_difference', 0.0):.1e}",
            ]
        )
    titles = (
        "engine", "one: times Keras", "many: times Keras", "one image, ms", "many, images/s",
        "many how", "share of peak", "logit off by",
    )  # fmt: skip
    peaks = [
        [precision, report.spread_cell(Spread(peak["median"], peak["low"], peak["high"]), 0, giga),
         peak["by"]]
        for precision, peak in results["peaks_per_s"].items()
    ]  # fmt: skip
    failures = [
        f"{name}: {figures['failure']}"
        for name, figures in results["engines"].items()
        if "failure" in figures
    ]
    return "\n".join(
        [
            report.heading(results["machine"]),
            f"Network: {height}x{width}, {results['operations_per_image'] * giga:.1f} billion "
            "operations per image (2 per multiply-add)",
            "",
            report.table(titles, rows),
            *failures,
            f"{COMPILED}: {results['compiled']}",
            "",
            report.table(("matrix product", "billion operations/s", "by"), peaks),
        ]
    )


def _measure(engine: _Engine, served: Network, images: Path, seconds: float) -> dict[str, Any]:
    return run_worker(
        engine.python(),
        engine.worker,
        "--network", str(engine.path(served)),
        "--images", str(images),
        "--seconds", str(seconds),
        "--how", engine.how,
    )  # fmt: skip


def _figures(answers: list[dict[str, Any]]) -> dict[str, Any]:
    ways = {
        way: Spread.of([answer["many_per_s"][way] for answer in answers])
        for way in answers[0]["many_per_s"]
    }
    best = max(ways, key=lambda way: ways[way].median)
    return {
        "one_s": _spread([second for answer in answers for second in answer["one_s"]]),
        "many_per_s": _spread([answer["many_per_s"][best] for answer in answers]),
        "many_how": best,
        "many_per_s_by_way": {way: spread.median for way, spread in ways.items()},
        "logits": answers[-1]["logits"],
        "versions": answers[-1]["versions"],
    }


def _beside(figures: dict[str, Any], baseline: dict[str, Any]) -> dict[str, Any]:
    return {
        "one_speed_up": baseline["one_s"]["median"] / figures["one_s"]["median"],
        "many_speed_up": figures["many_per_s"]["median"] / baseline["many_per_s"]["median"],
        "largest_logit_difference": max(
            abs(a - b) for a, b in zip(figures["logits"], baseline["logits"], strict=True)
        ),
    }


def _spread(values: list[float]) -> dict[str, float]:
    spread = Spread.of(values)
    return {"median": spread.median, "low": spread.low, "high": spread.high}
