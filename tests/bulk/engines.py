"""Engines for actors, which import them by name: slow, or cheap for many files."""

import os
import time
from pathlib import Path

from mammoscope.bulk.predictor import Parts
from mammoscope.model.prediction import Prediction
from tests.fake_engine import FakeEngine, FakeReader

IMAGE_S = 0.2


class SlowEngine(FakeEngine):
    """Takes `IMAGE_S` seconds an image."""

    def predict(self, *arguments, **named) -> Prediction:
        time.sleep(IMAGE_S)
        return super().predict(*arguments, **named)


def slow(model: Path) -> Parts:
    """Load a slow engine; `model` is a folder, in which the process leaves a file of its id."""
    (model / str(os.getpid())).touch()
    return SlowEngine(), FakeReader()
