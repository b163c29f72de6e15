"""Memory for reading a mammogram, as a multiple of its uncompressed frame."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MOST_FRAMES = 5.0
READ_WHOLE = {"jpeg": 10.0, "jpeg-2000": 6.0, "htj2k": 6.0}
"""Where all pixels are asked for, which no score needs: those of one byte become four of float32
each, and JPEG 2000 and HTJ2K of 16 bits are nearly as long as their frame."""

UNFRAGMENTED = {"MALLOC_MMAP_THRESHOLD_": "131072"}
"""Frames outside the heap, whose gaps took up to a frame more in some processes than in others."""

SYNTAXES = (
    "explicit", "big-endian", "deflated", "rle", "jpeg", "jpeg-extended", "jpeg-lossless-sv1",
    "jpeg-ls", "jpeg-2000", "htj2k",
)  # fmt: skip

# Each reading is measured in a forked process, because this one's peak includes all tests.
PROGRAM = """
import json, sys
from benchmarks import decode
phantom = decode._phantom(1914, 2294)
print(json.dumps({
    name: {
        mode: decode.cost_in_a_process(
            decode._reader(mode, decode._encoded(phantom, name), (384, 288)),
            decode.frame_bytes(name, 1914, 2294),
        )["frames"]
        for mode in ("full", "reduced")
    }
    for name in sys.argv[1:]
}))
"""


@pytest.fixture(scope="module")
def frames() -> dict[str, dict[str, float]]:
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, *SYNTAXES],
        cwd=Path(__file__).resolve().parents[3],
        env={**os.environ, **UNFRAGMENTED},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(answer.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
@pytest.mark.parametrize("name", SYNTAXES)
def test_reading_takes_at_most_five_frames(frames, name):
    assert 0.1 < frames[name]["reduced"] <= MOST_FRAMES
    assert frames[name]["full"] <= READ_WHOLE.get(name, MOST_FRAMES), frames
