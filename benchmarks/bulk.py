"""``make bench-bulk``: bulk prediction compared with ``mammoscope predict``, and its own costs.

Three bars: the images per second of ``mammoscope bulk`` as a share of those of ``mammoscope
predict`` on the same phantoms, once both have started; the seconds that a folder of one image takes
longer; and the memory of the driver with many small files, compared with few, with an engine that
does nothing. The share with the start included is printed, too.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import report
from benchmarks.environments import ROOT
from benchmarks.starting import command_s
from mammoscope.bulk.predictor import BulkJob, Parts
from mammoscope.imaging.display_image import DisplayImage, DisplayOptions, make_display_image
from mammoscope.imaging.mammogram import SourceFacts
from mammoscope.imaging.network_input import NetworkInput, ReadingOptions
from mammoscope.imaging.preprocessing import Preprocessed
from mammoscope.model.artifact.card import Card
from mammoscope.model.engine import OpenVinoEngine, Scores
from mammoscope.phantoms.drawing import write_phantom_dataset

LEAST_SHARE: Final = 0.9
"""Bar: images per second, as a share of those of ``mammoscope predict``."""

MOST_STARTING_S: Final = 15.0
"""Bar: seconds beyond those of ``mammoscope predict`` on one image."""

MOST_GROWTH: Final = 1.1
"""Bar: memory of the driver with many files, as a multiple of that with few."""

_CARD: Final = Card(version="stub", sha256="0" * 64, input_size=(8, 8))
_FEWER: Final = 10
"""Many files are this many times as many as few."""


class _Stub(OpenVinoEngine):
    """Answers 0 at once, so that everything else is measured."""

    def __init__(self) -> None:  # without a network
        vars(self).update(card=_CARD, _age_from_dicom=False)

    def infer(self, pixels: Any, /) -> Scores:
        zeros = np.zeros(len(pixels), np.float32)
        return Scores(zeros, np.zeros((len(pixels), 1, 1), np.float32))


class _StubReader:
    def read(self, data: bytes, options: ReadingOptions, *_: object) -> NetworkInput:
        del data
        grey = np.zeros(options.size, np.uint8)
        whole = Preprocessed(
            pixels=grey,
            inverted=False,
            mirrored=False,
            chest_wall="left",
            box=(0, 0, *options.size),
            breast_share=1.0,
            search_copy=grey.astype(np.float32),
            breast=np.ones(options.size, bool),
        )
        return NetworkInput(whole, SourceFacts("PNG", *options.size, bits=8, mode="L"))

    def read_display(self, data: bytes, options: DisplayOptions, *_: object) -> DisplayImage:
        return make_display_image(data, options)


def load_stub(_: Path) -> Parts:
    """Load what an actor needs to count files."""
    return _Stub(), _StubReader()


def driver_bytes(files: int) -> int:
    """Return the peak memory in bytes of a process that predicts `files` files with the stub."""
    program = f"import benchmarks.bulk as b; b.drive({files})"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return int(ended.stdout.splitlines()[-1])


def drive(files: int) -> None:
    """Predict `files` files with the stub, and print this process's peak memory in bytes."""
    from mammoscope.bulk.cluster import on_ray
    from mammoscope.bulk.running import predict_in_bulk

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "images"
        source.mkdir()
        for number in range(files):
            (source / f"{number:07d}.png").write_bytes(b"%d" % number)
        job = BulkJob(str(source), f"{folder}/out", Path(folder), "default", bytes(16))
        with on_ray(None):
            result = predict_in_bulk(job, _CARD, load=load_stub)
    if result.files != files or result.refused:
        raise SystemExit(f"{result.refused} of {result.files} files were refused.")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def compared(images: int, files: int) -> dict[str, Any]:
    """Measure, and return the results.

    The seconds of the first image are those of starting, and do not count for images per second.
    """
    with tempfile.TemporaryDirectory() as folder:
        one, many = Path(folder) / "one", Path(folder) / "many"
        paths = write_phantom_dataset(many, patients=-(-images // 4))
        for path in paths[images:]:
            path.unlink()
        one.mkdir()
        (one / paths[0].name).write_bytes(paths[0].read_bytes())
        command_s("predict", str(one))  # compiles the network
        single = {"predict": command_s("predict", str(one))}
        whole = {"predict": command_s("predict", str(many))}
        for name, source, times in (("one", one, single), ("many", many, whole)):
            times["bulk"] = command_s("bulk", str(source), "--output", f"{folder}/out-{name}")
    rates = {name: (images - 1) / (took - single[name]) for name, took in whole.items()}
    few = files // _FEWER
    return {
        "benchmark": "bulk",
        "machine": report.machine(),
        "images": images,
        "images_per_s": rates,
        "share": rates["bulk"] / rates["predict"],
        "share_with_start": whole["predict"] / whole["bulk"],
        "starting_s": single["bulk"] - single["predict"],
        "files": [few, files],
        "driver_bytes": [driver_bytes(few), driver_bytes(files)],
    }


def bars(results: dict[str, Any]) -> list[report.Bar]:
    """Return the bars."""
    few, many = results["driver_bytes"]
    fewer_files, files = results["files"]
    return [
        report.Bar(
            f"images/s on {results['images']:,} phantoms, of predict's",
            results["share"],
            LEAST_SHARE,
            at_least=True,
        ),
        report.Bar(
            "seconds longer for one image", results["starting_s"], MOST_STARTING_S, at_least=False
        ),
        report.Bar(
            f"driver's memory with {files:,} files, of that with {fewer_files:,}",
            many / few,
            MOST_GROWTH,
            at_least=False,
        ),
    ]


def text(results: dict[str, Any]) -> str:
    """Format the results with their bars."""
    few, many = results["driver_bytes"]
    rates = results["images_per_s"]
    return "\n".join(
        [
            report.heading(results["machine"]),
            f"{rates['bulk']:.2f} images per second with bulk and {rates['predict']:.2f} with "
            f"predict, after the start; with it, {results['share_with_start']:.2f} of predict's. "
            f"The driver takes {few / 2**20:,.0f} and {many / 2**20:,.0f} MiB.",
            "",
            report.table(("bar", "measured", "limit", ""), [b.cells() for b in bars(results)]),
        ]
    )


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bulk", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--images", type=int, default=2000, help="phantoms to predict")
    parser.add_argument("--files", type=int, default=100_000, help="files for the stub")
    options = parser.parse_args()
    results = compared(options.images, options.files)
    path = report.write("bulk", results)
    print(text(results))
    print(f"\nWritten to {path.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
