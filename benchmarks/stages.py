"""``make bench-stages``: measure the time of each stage from bytes to score.

Each image is a phantom. It is read at full size, and as the service reads it, with only the pixels
that the network needs; both are preprocessed and predicted. The two alternate within a round, so
that a busy machine slows both. A second table compares reading in this process with reading in a
process of the pool, as the service does. This needs no data set and only the service's packages.
"""

import argparse
import io
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from benchmarks import report
from mammoscope.imaging.network_input import ReadingOptions, make_network_input
from mammoscope.imaging.pool import ReadingPool
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.reading import read
from mammoscope.model.artifact.folder import load_artifact
from mammoscope.model.engine import Engine, load_engine
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom

STAGES: Final = ("decode", "prepare", "infer")
RESULTS: Final = Path(__file__).parent / "results" / "stages.json"


@dataclass(frozen=True, slots=True)
class Row:
    """One image read in one way.

    ``milliseconds`` has the median and quartiles by stage; ``width`` and ``height`` are those of
    the decoded image; ``probability`` is the prediction.
    """

    image: str
    reading: str
    width: int
    height: int
    milliseconds: dict[str, tuple[float, float, float]]
    probability: float


@dataclass(frozen=True, slots=True)
class PoolRow:
    """Cost of reading one image in the pool.

    Medians and quartiles in milliseconds: reading and preprocessing in this process, and what a
    process of the pool takes more.
    """

    image: str
    direct: tuple[float, float, float]
    pool_adds: tuple[float, float, float]


def main() -> None:
    """Measure, print the table and write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stages",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model", type=Path, default=Path("model"), help="model folder")
    parser.add_argument("--rounds", type=int, default=9, help="number of repetitions")
    parser.add_argument("--json", type=Path, default=RESULTS, help="file to write")
    options = parser.parse_args()
    facts = report.machine()
    print(report.heading(facts))
    artifact = load_artifact(options.model)
    engine = load_engine(artifact, performance_mode="latency")
    rows = [row for name, data in images() for row in measure(name, data, engine, options.rounds)]
    print("\n".join(table(rows)))
    with ReadingPool(1) as pool:
        options_of_model = engine.card.reading_options()
        pool_rows = [
            measure_pool(name, data, pool, options_of_model, options.rounds)
            for name, data in images()
        ]
    print("\n".join(["", *pool_table(pool_rows)]))
    result = {
        "model_version": engine.card.version,
        "network": artifact.precision,
        "input_size": engine.card.input_size,
        "machine": facts,
        "rounds": options.rounds,
        "rows": [asdict(row) for row in rows],
        "pool": [asdict(row) for row in pool_rows],
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"Written to {options.json}.", file=sys.stderr)


def images() -> Sequence[tuple[str, bytes]]:
    """Return images like those of the data set and of a 12-megapixel detector."""
    small = draw_phantom(PhantomConfig(seed=1, height=640, width=640)).pixels
    large = draw_phantom(PhantomConfig(seed=1, height=4000, width=3000)).pixels
    return (
        ("640x640 JPEG", _encoded(_in_8_bits(small).convert("RGB"), "JPEG", quality=95)),
        ("3000x4000 JPEG", _encoded(_in_8_bits(large), "JPEG", quality=95)),
        ("3000x4000 16-bit PNG", _encoded(_in_16_bits(large), "PNG")),
    )


def measure(name: str, data: bytes, engine: Engine, rounds: int) -> list[Row]:
    """Measure the stages at full size and with the pixels that the network needs."""
    size = engine.card.input_size
    ways = {"full": None, "needed": size}
    times: dict[str, list[list[float]]] = {way: [] for way in ways}
    facts = {}
    for repetition in range(rounds + 1):
        for way, needed in ways.items():
            decode, mammogram = _timed(partial(read, data, needed=needed))
            preprocessing, preprocessed = _timed(
                partial(preprocess, mammogram, size, channels=engine.card.channels)
            )
            infer, scores = _timed(partial(engine.infer, preprocessed.pixels[None]))
            if repetition:  # the first one is a warm-up
                times[way].append([decode, preprocessing, infer])
            height, width = mammogram.pixels.shape
            logit = float(scores.logits[0])
            facts[way] = (width, height, engine.card.calibration.probability(logit))
    rows = []
    for way, (width, height, probability) in facts.items():
        by_stage = dict(zip(STAGES, zip(*times[way], strict=True), strict=True))
        by_stage["total"] = tuple(sum(each) for each in times[way])
        spread = {stage: _quartiles(values) for stage, values in by_stage.items()}
        rows.append(Row(name, way, width, height, spread, probability))
    return rows


def measure_pool(
    name: str, data: bytes, pool: ReadingPool, options: ReadingOptions, rounds: int
) -> PoolRow:
    """Measure reading in this process and in the pool; the two alternate."""
    direct, added = [], []
    for repetition in range(rounds + 1):
        here, _ = _timed(partial(make_network_input, data, options))
        there, _ = _timed(partial(pool.read, data, options))
        if repetition:  # the first one is a warm-up
            direct.append(here)
            added.append(there - here)
    return PoolRow(name, _quartiles(direct), _quartiles(added))


def pool_table(rows: Sequence[PoolRow]) -> list[str]:
    """Return the lines of the table: median milliseconds, with quartiles in brackets."""
    lines = [f"{'image':22}{'read directly':>21}{'the pool adds':>21}"]
    return [*lines, *(f"{r.image:22}{_cell(r.direct):>21}{_cell(r.pool_adds):>21}" for r in rows)]


def table(rows: Sequence[Row]) -> list[str]:
    """Return the lines of the table: median milliseconds, with quartiles in brackets."""
    columns = (*STAGES, "total")
    heading = "".join(f"{column:>21}" for column in columns)
    lines = [f"{'image':22}{'read':8}{'decoded':>11}{heading}{'score':>8}"]
    for row in rows:
        cells = "".join(f"{_cell(row.milliseconds[column]):>21}" for column in columns)
        decoded = f"{row.width}x{row.height}"
        lines.append(f"{row.image:22}{row.reading:8}{decoded:>11}{cells}{row.probability:>8.4f}")
    return lines


def _cell(spread: tuple[float, float, float]) -> str:
    median, low, high = spread
    return f"{median:.1f} ({low:.1f}-{high:.1f})"


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return median, low, high


def _timed(stage: Callable[[], Any]) -> tuple[float, Any]:
    """Return milliseconds and result."""
    started = time.perf_counter()
    result = stage()
    return (time.perf_counter() - started) * 1e3, result


def _in_8_bits(pixels: Any) -> Image.Image:
    return Image.fromarray(np.rint(pixels * 255).astype(np.uint8))


def _in_16_bits(pixels: Any) -> Image.Image:
    """Fill 16 bits like 14-bit detectors, including noise, so that PNG compression is realistic."""
    noise = np.random.default_rng(0).normal(0, 8, pixels.shape)
    levels = np.clip(np.rint(pixels * 16383 + noise * (pixels > 0.02)), 0, 16383)
    return Image.fromarray((levels * 4).astype(np.uint16))


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


if __name__ == "__main__":
    main()
