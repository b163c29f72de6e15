"""Scores of the released network, in each precision."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mammoscope.imaging.heat_map import overlay
from mammoscope.imaging.mammogram import Mammogram
from mammoscope.imaging.network_input import display_of
from mammoscope.imaging.reading import read
from mammoscope.model.artifact.folder import load_artifact
from mammoscope.model.cache import CompiledNetwork
from mammoscope.model.conversion import convert_network, import_openvino
from mammoscope.model.engine import (
    Engine,
    Execution,
    computes_in,
    load_engine,
    make_engine,
)
from tests.record.encoded_images import accepted
from tests.record.imaging import SIZE
from tests.record.keeping import NETWORK, ROOT, Entries, sha256

MODEL = ROOT / "model"

SERVED, IN_FLOAT = "as served", "model.keras, in float32"

ALLOWED = {SERVED: 0.01, IN_FLOAT: 0.001}
"""Differences of the probability between processors of another kind. With few bits they round at
other places; `mammoscope.model.engine.agreement` allows as much."""


def processor() -> dict[str, Any]:
    """Return the facts that determine the last bits of the network's scores."""
    openvino = import_openvino()
    core, precision = openvino.Core(), load_artifact(MODEL).precision
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    family = re.findall(r"^(cpu family|model)\s*: (\d+)$", cpuinfo, re.MULTILINE)[:2]
    return {
        "name": core.get_property("CPU", "FULL_DEVICE_NAME"),
        "capabilities": sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        **dict(family),
        "openvino": openvino.get_version(),
        "served": precision if computes_in(precision) else "float32",
    }


@cache
def served() -> Engine:
    """Return the released model as the service loads it."""
    return load_engine(load_artifact(MODEL))


def engines() -> dict[str, Engine]:
    """Return the released model in float32, and as served if this processor has its precision."""
    artifact = load_artifact(MODEL)
    network = CompiledNetwork(convert_network(artifact.network))
    made = {IN_FLOAT: make_engine(network, artifact.card, Execution(precision="float32"))}
    if computes_in(artifact.precision):
        made[SERVED] = served()
    return made


def record() -> Entries:
    entries: Entries = {}
    available = engines()
    first: dict[str, str] = {}
    for name, data in accepted().items():
        mammogram = read(data, needed=SIZE)
        known = first.setdefault(sha256(mammogram.pixels.tobytes()), name)
        if known != name:  # a lossless copy of that image, pixel by pixel
            entries[name] = {"same_as": known}
            continue
        answers = {kind: _answer(engine, mammogram) for kind, engine in available.items()}
        entries[name] = {NETWORK: True, **answers}
    return entries


def _answer(engine: Engine, mammogram: Mammogram) -> dict[str, Any]:
    prediction = engine.predict(mammogram)
    drawn = overlay(display_of(mammogram), prediction.logit_map, prediction.preprocessed)
    return {
        "logit": prediction.logit,  # JSON keeps each bit of a number
        "probability": prediction.probability,
        "with_age_57": engine.card.probability(prediction.logit, 57.0)[0],
        "label": prediction.label,
        "logit_map": sha256(prediction.logit_map.tobytes()),
        "heat_map": sha256(drawn.tobytes()),
    }


def far_apart(recorded: Entries, now: Entries) -> list[str]:
    """Return probabilities that differ more than other processors explain."""
    return [
        f"{name}, {kind}: {key} was {old[key]}, is {new[key]}"
        for name in recorded
        for kind, old in _answers(recorded, name).items()
        for new in [_answers(now, name).get(kind)]
        if new is not None
        for key in ("probability", "with_age_57")
        if abs(old[key] - new[key]) > ALLOWED[kind]
    ]


def _answers(entries: Entries, name: str) -> Mapping[str, Any]:
    entry = entries.get(name, {})
    entry = entries.get(entry.get("same_as"), entry)
    return {kind: answer for kind, answer in entry.items() if kind in ALLOWED}
