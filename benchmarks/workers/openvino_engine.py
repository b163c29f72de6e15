"""Mammoscope's own engine, as the service loads it.

``--how float`` computes in float32, whatever the card says, and ``--how served`` like the service.
"""

import inspect
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.workers.timing import (
    Logits,
    Pixels,
    arguments,
    engine_results,
    one_at_a_time,
    report,
)
from mammoscope.model.artifact.folder import Artifact, load_artifact
from mammoscope.model.engine import load_engine


def main() -> None:
    """Measure and print."""
    options = arguments()
    pixels = np.load(options.images)
    artifact = load_artifact(options.network)
    if options.how == "float":
        artifact = replace(artifact, precision="float32")
    engine = load_engine(artifact)

    def score(pixels: Pixels) -> Logits:
        return engine.infer(pixels).logits

    results: dict[str, Any] = engine_results(score, pixels, options.seconds, batches=False)
    results["one_s"] = _latency(artifact, pixels, options.seconds) or results["one_s"]
    report(("openvino",), **results)


def _latency(artifact: Artifact, pixels: Pixels, seconds: float) -> list[float] | None:
    """Seconds per image in the engine's latency mode, if it has one."""
    if "performance_mode" not in inspect.signature(load_engine).parameters:
        return None
    options: dict[str, Any] = {"performance_mode": "latency"}
    engine = load_engine(artifact, **options)
    return one_at_a_time(lambda p: engine.infer(p).logits, pixels, seconds)


if __name__ == "__main__":
    main()
