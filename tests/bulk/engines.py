"""Engines for actors, which import them by name: slow, or cheap for many files."""

import os
import time
from pathlib import Path

from mammoscope.bulk.predictor import Parts
from mammoscope.model.prediction import Prediction
from tests.fake_engine import FakeEngine, FakeReader

IMAGE_S = 0.1


class SlowEngine(FakeEngine):
    """Takes `IMAGE_S` seconds an image, and touches a file named after its process each time."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._file = folder / str(os.getpid())

    def predict(self, *arguments, **named) -> Prediction:
        self._file.touch()
        time.sleep(IMAGE_S)
        return super().predict(*arguments, **named)


def slow(model: Path) -> Parts:
    """Load a slow engine; `model` is the folder for its file."""
    return SlowEngine(model), FakeReader()
