"""Measure the cost of decoding DICOM mammograms, compared with the network: make bench-decode.

For each transfer syntax and size, print the time in milliseconds (best of several) and the peak
memory, as multiples of the uncompressed frame, of reading at full and at reduced resolution and of
pydicom's `pixel_array`. Also print the differences of preprocessed pixels and scores between full
and reduced reading. The network computes in float32, because the effect of bfloat16 is unrelated to
reading and is in the model's card. Each measurement runs in a separate process, so that peaks do
not mix.
"""

import argparse
import ctypes
import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.reading import read
from mammoscope.model.artifact.folder import load_artifact
from mammoscope.model.engine import Engine, load_engine
from mammoscope.phantoms.dicom import SYNTAXES, Encoding, encode_phantom
from mammoscope.phantoms.drawing import Phantom, PhantomConfig, draw_phantom
from mammoscope.settings.channels import ChannelsName

SIZES = ((1914, 2294), (2560, 3328), (3328, 4096))
"""Width and height of common detectors, in pixels."""

REPEATS = 2
MODES = ("full", "reduced", "pydicom")


def main() -> int:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("model"))
    parser.add_argument("--json", type=Path, help="write the measurements to this file")
    parser.add_argument("--syntax", choices=SYNTAXES, action="append", help="measure only this one")
    parser.add_argument(
        "--size", type=int, choices=range(len(SIZES)), action="append", help=f"of {SIZES}"
    )
    args = parser.parse_args()
    sizes = [SIZES[index] for index in args.size or range(len(SIZES))]
    needed, channels = _input(args.model)
    # Forked before OpenVINO starts threads, which do not survive a fork.
    rows = []
    for size in sizes:
        phantom = _phantom(*size)
        for name in args.syntax or SYNTAXES:
            data = _encoded(phantom, name)
            costs = {
                mode: cost_in_a_process(_reader(mode, data, needed), frame_bytes(name, *size))
                for mode in MODES
            }
            preprocessed = [
                preprocess(read(data, needed=wanted), needed, channels=channels).pixels
                for wanted in (None, needed)
            ]
            rows.append((name, size, len(data), costs, np.stack(preprocessed)))
            print(f"measured {name} at {size[0]} x {size[1]}", file=sys.stderr, flush=True)
    artifact = load_artifact(args.model)
    network_ms = _network_ms(load_engine(artifact))
    in_float = load_engine(replace(artifact, precision="float32"))
    print(f"network: {network_ms:.0f} ms per image, input {needed[0]} x {needed[1]}")
    print(
        f"{'syntax':18} {'size':>10} {'MB':>6}  {'full':>14} {'reduced':>14} {'pydicom':>14}"
        "  differ: pixels, score"
    )
    report_rows = []
    for name, (width, height), size_bytes, costs, images in rows:
        difference = _difference(in_float, images)
        cells = " ".join(f"{_cell(costs[mode]):>14}" for mode in MODES)
        print(
            f"{name:18} {f'{width}x{height}':>10} {size_bytes / 1e6:6.1f}  {cells}"
            f"  {_pixel_difference(images):6.3f} {difference:.4f}"
        )
        report_rows.append(
            {
                "syntax": name,
                "width": width,
                "height": height,
                "bytes": size_bytes,
                "prepared_pixel_difference": _pixel_difference(images),
                "score_difference": difference,
                **costs,
            }
        )
    if args.json:
        report = {"network_ms": network_ms, "processors": os.cpu_count(), "rows": report_rows}
        args.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return 0


def _phantom(width: int, height: int) -> Phantom:
    return draw_phantom(PhantomConfig(seed=3, mass=True, height=height, width=width))


def _encoded(phantom: Phantom, name: str) -> bytes:
    bits = SYNTAXES[name].bits
    return encode_phantom(phantom, Encoding(name, bits=12 if 12 in bits else bits[-1]))


def _input(model: Path) -> tuple[tuple[int, int], ChannelsName]:
    """Return size and channels of the network's input."""
    card = load_artifact(model).card
    return (card.input_size, card.channels) if card else ((704, 416), "ranks")


def _reader(mode: str, data: bytes, needed: tuple[int, int]) -> Callable[[], object]:
    if mode == "pydicom":
        return lambda: pydicom.dcmread(pydicom.filebase.DicomBytesIO(data)).pixel_array
    return lambda: read(data, needed=needed if mode == "reduced" else None).pixels


def frame_bytes(name: str, width: int, height: int) -> int:
    """Size in bytes of the uncompressed frame that `_encoded` encodes."""
    bits = SYNTAXES[name].bits
    return width * height * (2 if 12 in bits or bits[-1] > 8 else 1)


def cost_in_a_process(work: Callable[[], object], frame: int) -> dict[str, float] | None:
    """Time in ms, and peak memory in bytes and in frames of `frame` bytes; None if unsupported."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def measure() -> None:
        try:
            work()  # loads what is loaded on first use
            ctypes.CDLL(None).malloc_trim(0)  # otherwise freed memory would hide new allocations
            before = int(Path("/proc/self/statm").read_text("ascii").split()[1])
            rss_before = before * resource.getpagesize()
            Path("/proc/self/clear_refs").write_text("5", "ascii")  # resets the peak
            times = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                work()
                times.append(1000 * (time.perf_counter() - start))
            status = Path("/proc/self/status").read_text("ascii")
            peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
            taken = peak - rss_before
            sender.send({"ms": min(times), "peak_bytes": taken, "frames": taken / frame})
        except (RuntimeError, NotImplementedError, AttributeError):
            sender.send(None)  # pydicom has no decoder for this syntax

    process = context.Process(target=measure)
    process.start()
    try:
        cost: dict[str, Any] | None = receiver.recv()
    finally:
        process.join()
    return cost


def _network_ms(engine: Engine) -> float:
    pixels = np.zeros((1, *engine.card.input_shape), np.uint8)
    engine.infer(pixels)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        engine.infer(pixels)
        times.append(1000 * (time.perf_counter() - start))
    return min(times)


def _difference(engine: Engine, images: npt.NDArray[np.uint8]) -> float:
    """Difference in probability between two preprocessed images."""
    first, second = (
        engine.card.calibration.probability(float(logit)) for logit in engine.infer(images).logits
    )
    return abs(first - second)


def _pixel_difference(images: npt.NDArray[np.uint8]) -> float:
    """Mean difference between two preprocessed images, in ranks of 1 to 255."""
    first, second = images.astype(np.int16)
    return float(np.abs(first - second).mean())


def _cell(cost: dict[str, float] | None) -> str:
    return f"{cost['ms']:6.0f} ms {cost['frames']:4.1f}x" if cost else "–"


if __name__ == "__main__":
    raise SystemExit(main())
