"""Time an engine and print its results; standard library and NumPy only."""

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.measurement import rate

Pixels = npt.NDArray[np.uint8]
Logits = npt.NDArray[np.float32]
Score = Callable[[Pixels], Logits]
"""Maps preprocessed images, uint8 (N, H, W, 1), to logits (N,)."""

BATCH: Final = 8
CALLERS: Final = 8

_WARM_UP_CALLS: Final = 3
_LEAST_CALLS: Final = 5


def arguments() -> argparse.Namespace:
    """Read the arguments that every engine gets."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--how", default="")
    return parser.parse_args()


def report(packages: tuple[str, ...], **results: Any) -> None:
    """Print the results as the last line of stdout."""
    versions = {package: version(package) for package in packages}
    print(json.dumps({**results, "versions": versions}))
    sys.stdout.flush()


def engine_results(
    score: Score, pixels: Pixels, seconds: float, *, batches: bool = True
) -> dict[str, Any]:
    """Time an engine with one image at a time, and with many.

    Parameters
    ----------
    score
        The engine; `CALLERS` threads call it as well.
    pixels
        uint8 (N, H, W, 1).
    seconds
        Length of each measurement.
    batches
        Whether the engine takes batches; else only concurrent callers are measured.

    Returns
    -------
    dict
        ``one_s``: seconds of each call with one image; ``many_per_s``: images per second by mode;
        ``logits``: logits of all images.
    """

    def one(number: int) -> Logits:
        return score(pixels[number % len(pixels)][None])

    many = {f"{CALLERS} callers": with_callers(one, seconds)}
    if batches:
        many[f"batches of {BATCH}"] = _in_batches(score, pixels, seconds)
    return {
        "one_s": one_at_a_time(score, pixels, seconds),
        "many_per_s": many,
        "logits": [float(score(pixels[i : i + 1])[0]) for i in range(len(pixels))],
    }


def one_at_a_time(score: Score, pixels: Pixels, seconds: float) -> list[float]:
    """Seconds of each call with one image, after some warm-up calls."""
    for index in range(_WARM_UP_CALLS):
        score(pixels[index % len(pixels)][None])
    durations: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(durations) < _LEAST_CALLS:
        image = pixels[len(durations) % len(pixels)][None]
        began = time.perf_counter()
        score(image)
        durations.append(time.perf_counter() - began)
    return durations


def with_callers(call: Callable[[int], object], seconds: float, callers: int = CALLERS) -> float:
    """Calls per second if threads make one after another, like the threads of a service.

    `call` gets the number of the call.
    """
    finished: list[float] = []
    stop, numbers = threading.Event(), count()

    def caller() -> None:
        while not stop.is_set():
            call(next(numbers))
            finished.append(time.monotonic())

    threads = [threading.Thread(target=caller) for _ in range(callers)]
    for thread in threads:
        thread.start()
    while len(finished) < 2 * callers:
        time.sleep(0.01)
    begin, before = time.monotonic(), len(finished)
    while time.monotonic() < begin + seconds or len(finished) < before + callers:
        time.sleep(0.01)
    end = time.monotonic()
    stop.set()
    for thread in threads:
        thread.join()
    return rate(finished, begin, end)


def _in_batches(score: Score, pixels: Pixels, seconds: float) -> float:
    batch = np.concatenate([pixels] * (BATCH // len(pixels) + 1))[:BATCH]
    score(batch)
    finished: list[float] = []
    begin = time.monotonic()
    while time.monotonic() < begin + seconds or len(finished) < 2:
        score(batch)
        finished.append(time.monotonic())
    return BATCH * rate(finished, begin, finished[-1])
