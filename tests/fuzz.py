"""Fuzz reading and preprocessing: the result must be a Mammogram or a typed error.

Usage: python -m tests.fuzz SECONDS [CORPUS] [libFuzzer options]

The fuzzer traces which lines of the package and of pydicom its bytes reach. Its process grows over
time, so it works in rounds; each is a new process that starts with the inputs of earlier rounds.
`make soak` detects growth over longer times. The first round starts with small phantoms in every
encoding; new inputs are kept in CORPUS, if given. A finding is written to a file crash-..., and the
exit code is not 0.
"""

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Final

import atheris

with atheris.instrument_imports(include=["mammoscope", "pydicom"]):
    from mammoscope.errors import ImageError
    from mammoscope.imaging.preprocessing import preprocess
    from mammoscope.imaging.quality import require_mammogram
    from mammoscope.imaging.reading import read
    from mammoscope.phantoms.dicom import SYNTAXES, Encoding
    from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom
    from mammoscope.settings.service import ReadingLimits
    from tests.abuse.images import encode
    from tests.dicom_objects import mammogram_object

LIMITS: Final = ReadingLimits(max_pixels=60_000, max_image_bytes=200_000)
INPUT_SIZE: Final = (96, 72)
LONGEST_BYTES: Final = 20_000
"""Maximum length of generated inputs: short ones are faster, and the seeds are shorter."""

MOST_MB: Final = 1_500
LONGEST_S: Final = 20
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


def judge(data: bytes) -> None:
    """Read and preprocess `data`; raises only unexpected errors."""
    try:
        mammogram = read(data, LIMITS, needed=INPUT_SIZE)
        require_mammogram(mammogram, preprocess(mammogram, INPUT_SIZE))
    except ImageError as err:
        if not str(err):
            raise AssertionError("an error must say something") from err


def main(arguments: list[str]) -> int:
    """Fuzz for a while; returns the exit code of the round with a finding, or 0."""
    if arguments[0] == ROUND:
        warnings.simplefilter("ignore")
        atheris.Setup([sys.argv[0], *arguments[1:]], judge)
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
