"""Fuzz reading and preprocessing: the result must be a network input or a typed error.

Usage: python -m tests.fuzz SECONDS [CORPUS] [libFuzzer options]

Each input is first read as the service reads it: in the pool of child processes, with the default
limits. If it stays within them, the fuzzer's own process reads it again, with the same outcome.
There the fuzzer traces which lines of the package and of pydicom its bytes reach.

That process grows over time, so it works in rounds; each is a new process that starts with the
inputs of earlier rounds. `make soak` detects growth over longer times. The first round starts with
small phantoms in every encoding; new inputs are kept in CORPUS, if given. A finding is written to a
file crash-..., and the exit code is not 0.
"""

import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import atheris

with atheris.instrument_imports(include=["mammoscope", "pydicom"]):
    from mammoscope.errors import DecodingLimitError, ImageError
    from mammoscope.imaging.network_input import NetworkInput, ReadingOptions, make_network_input
    from mammoscope.imaging.pool import ReadingPool
    from mammoscope.phantoms.dicom import SYNTAXES, Encoding
    from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom
    from tests.abuse.images import encode
    from tests.dicom_objects import mammogram_object

OPTIONS: Final = ReadingOptions((96, 72), display=True)
LONGEST_BYTES: Final = 20_000
"""Maximum length of generated inputs: short ones are faster, and the seeds are shorter."""

MOST_MB: Final = 2_000
LONGEST_S: Final = 40
"""Memory and time above which an image counts as a finding."""

ROUND: Final = "round"
"""First argument of a process that runs one round."""

ROUND_S: Final = 60
"""Seconds of a round."""


def seeds() -> dict[str, bytes]:
    """Return a small phantom in every supported encoding."""
    from PIL import Image

    pixels = draw_phantom(PhantomConfig(seed=3, height=96, width=96)).pixels
    grey = Image.fromarray((pixels * 255).astype("uint8"))
    deep = Image.fromarray((pixels * 65535).astype("uint16"))
    found = {
        "png": encode(grey),
        "png-16": encode(deep),
        "png-palette": encode(grey.convert("P")),
        "jpeg": encode(grey, "JPEG"),
        "jpeg-progressive": encode(grey.convert("RGB"), "JPEG", progressive=True),
        "tiff": encode(grey, "TIFF"),
        "tiff-packed": encode(deep, "TIFF", compression="tiff_deflate"),
    }
    for name, syntax in SYNTAXES.items():
        encoding = Encoding(name, bits=12 if 12 in syntax.bits else syntax.bits[-1])
        found[f"dicom-{name}"] = mammogram_object(encoding, height=96, width=96)
    return found


def check(pool: ReadingPool, data: bytes) -> None:
    """Read and preprocess `data`; raises only unexpected errors."""
    outcome = _outcome(lambda: pool.read(data, OPTIONS))
    if outcome[0] is not DecodingLimitError:
        here = _outcome(lambda: make_network_input(data, OPTIONS))
        if outcome != here:
            raise AssertionError(f"{outcome} in the pool, {here} here")


def _outcome(read: Callable[[], NetworkInput]) -> tuple[type, str]:
    """Class of the result or of the error, and the error's message."""
    try:
        return type(read()), ""
    except ImageError as err:
        if not str(err):
            raise AssertionError("an error must say something") from err
        return type(err), str(err)


def main(arguments: list[str]) -> int:
    """Fuzz for a while; returns the exit code of the round with a finding, or 0."""
    if arguments[0] == ROUND:
        warnings.simplefilter("ignore")
        pool = ReadingPool(1)
        atheris.Setup([sys.argv[0], *arguments[1:]], partial(check, pool))
        atheris.Fuzz()
    left = int(arguments.pop(0))
    with tempfile.TemporaryDirectory() as beginning, tempfile.TemporaryDirectory() as fresh:
        for name, data in seeds().items():
            (Path(beginning) / name).write_bytes(data)
        corpus = arguments.pop(0) if arguments and not arguments[0].startswith("-") else fresh
        while left > 0:
            options = [
                f"-max_total_time={min(left, ROUND_S)}",
                f"-max_len={LONGEST_BYTES}",
                f"-rss_limit_mb={MOST_MB}",
                f"-timeout={LONGEST_S}",
                "-print_final_stats=1",
                *arguments,
            ]
            # libFuzzer writes its findings to the first folder.
            command = [sys.executable, "-m", "tests.fuzz", ROUND, *options, corpus, beginning]
            ended = subprocess.run(command, check=False)
            if ended.returncode:
                return ended.returncode
            left -= ROUND_S
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
