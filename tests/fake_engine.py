"""An engine with known predictions, and functions for requests and checks."""

import io
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from mammoscope.imaging.arrays import Pixels
from mammoscope.imaging.dicom import Pseudonyms
from mammoscope.imaging.display_image import DisplayImage, DisplayOptions, make_display_image
from mammoscope.imaging.mammogram import Mammogram
from mammoscope.imaging.network_input import NetworkInput, ReadingOptions, display_of
from mammoscope.imaging.preprocessing import Preprocessed
from mammoscope.imaging.reading import read
from mammoscope.model.artifact.card import Card
from mammoscope.model.engine import Engine, OpenVinoEngine, Scores
from mammoscope.model.prediction import Prediction
from mammoscope.service.app import create_app
from mammoscope.settings.service import ServiceSettings

CARD = Card(
    version="test-1",
    sha256="0" * 64,
    input_size=(96, 96),
    training={"data": "/home/somebody/patients"},
)


class NetworkStub(OpenVinoEngine):
    """Predicts like every engine, with a network defined by a test: ``infer`` and ``card``."""

    _age_from_dicom = False

    def __init__(self) -> None:
        pass


class FakeReader:
    """Reads in this process and accepts every image."""

    def read(
        self, data: bytes, options: ReadingOptions, check: Callable[[], None], /
    ) -> NetworkInput:
        check()
        began = time.perf_counter()
        key = options.pseudonym_key
        pseudonyms = None if key is None else Pseudonyms(key)
        mammogram = read(data, options.limits, needed=options.size, pseudonyms=pseudonyms)
        height, width = mammogram.pixels.shape
        preprocessed = Preprocessed(
            pixels=np.full(options.size, 100, np.uint8),
            inverted=False,
            mirrored=False,
            chest_wall="left",
            box=(0, 0, height, width),
            breast_share=1.0,
            search_copy=mammogram.pixels,
            breast=np.ones(mammogram.pixels.shape, bool),
        )
        return NetworkInput(
            preprocessed,
            mammogram.source,
            mammogram.laterality,
            mammogram.view,
            mammogram.exposure,
            mammogram.warnings,
            display_of(mammogram) if options.display else None,
            {"decode": time.perf_counter() - began, "prepare": 0.0},
        )

    def read_display(
        self, data: bytes, options: DisplayOptions, check: Callable[[], None], /
    ) -> DisplayImage:
        check()
        return make_display_image(data, options)


def app_with(settings: ServiceSettings, engine: Engine) -> Flask:
    """The application with a test's engine; images are read in this process."""
    return create_app(settings, engine, FakeReader())


class FakeEngine:
    """Predicts the mean grey as the probability and is hottest below, or fails on request."""

    card = CARD

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.operating_points: list[str] = []
        self.ages: list[float | None] = []

    def predict(
        self,
        image: Mammogram | NetworkInput,
        /,
        *,
        operating_point: str = "default",
        age: float | None = None,
    ) -> Prediction:
        assert isinstance(image, NetworkInput)
        if self.failure is not None:
            raise self.failure
        self.operating_points.append(operating_point)
        self.ages.append(age)
        mean = float(image.preprocessed.search_copy.mean())
        return Prediction(
            probability=mean,
            logit=mean,
            threshold=0.5,
            model_version=self.card.version,
            warnings=(*image.warnings, "Predicted by a test."),
            age_used=False,
            preprocessed=image.preprocessed,
            logit_map=np.repeat(np.arange(3, dtype=np.float32)[:, None], 3, axis=1),
            stage_s=image.stage_s,
        )

    def infer(self, pixels: Pixels, /) -> Scores:
        logits = pixels.mean(axis=(1, 2), dtype=np.float32) / np.float32(255)
        return Scores(logits, np.zeros((len(pixels), 3, 3), np.float32))


def encoded(
    format: str = "PNG",  # noqa: A002
    size: tuple[int, int] = (64, 96),
    grey: int = 102,
) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full(size, grey, np.uint8)).save(buffer, format)
    return buffer.getvalue()


IMAGE = encoded()


def upload(*files: bytes, field: str = "file", name: str = "a.jpg", **fields: str) -> Any:
    return {
        "data": {field: [(io.BytesIO(file), name) for file in files], **fields},
        "content_type": "multipart/form-data",
    }


def assert_problem(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    content: dict[str, Any] = json.loads(response.data)
    assert content["status"] == status
    assert content["code"] == code
    assert content["type"].endswith(code)
    assert content["title"]
    assert content["detail"]
    assert content["request_id"] == response.headers["X-Request-Id"]
    assert "Traceback" not in response.text
    return content


def assert_good(client: FlaskClient) -> None:
    assert client.post("/predict", **upload(IMAGE)).status_code == 200
