"""Metrics for Prometheus."""

import logging
import socket
from collections.abc import Callable

import pytest
import requests
from flask import Flask
from prometheus_client import make_wsgi_app
from prometheus_client.parser import text_string_to_metric_families

from mammoscope.service.app import monitoring_of, queue_of
from mammoscope.settings.service import ServiceSettings
from mammoscope.system.cpus import available_processors
from mammoscope.system.side_listener import listen
from tests.fake_engine import CARD, IMAGE, FakeEngine, app_with, upload

Read = Callable[..., float | None]


@pytest.fixture
def app() -> Flask:
    engine = FakeEngine()
    engine.card = CARD.model_copy(update={"distributions": {"logit": tuple(range(9))}})
    return app_with(ServiceSettings(), engine)


@pytest.fixture
def value(app: Flask) -> Read:
    return monitoring_of(app).registry.get_sample_value


def test_requests_are_counted_by_route_status_and_reason(app: Flask, value: Read) -> None:
    client = app.test_client()
    for _ in range(2):
        client.post("/predict", **upload(IMAGE))
    client.post("/predict", **upload(b"no image"))
    client.get("/meier")

    def counted(route: str, status: str, code: str) -> float | None:
        labels = {"route": route, "status": status, "code": code}
        return value("mammoscope_requests_total", labels)

    assert counted("/predict", "200", "") == 2
    assert counted("/predict", "415", "unsupported_image") == 1
    assert counted("none", "404", "not_found") == 1
    assert value("mammoscope_request_seconds_count", {"route": "/predict"}) == 3


def test_stages_and_probabilities(app: Flask, value: Read) -> None:
    app.test_client().post("/predict", **upload(IMAGE))
    for stage in ("queue", "decode"):
        assert value("mammoscope_stage_seconds_count", {"stage": stage}) == 1
    assert value("mammoscope_probability_count") == 1
    assert value("mammoscope_probability_sum") == pytest.approx(0.4, abs=1e-6)


def test_queue_and_readiness(app: Flask, value: Read) -> None:
    assert value("mammoscope_places") == available_processors() + 1 + 32
    assert value("mammoscope_places_taken") == 0
    assert value("mammoscope_queue_waiting") == 0
    assert value("mammoscope_ready") == 1
    queue_of(app).drain()
    assert value("mammoscope_not_ready", {"reason": "draining"}) == 1
    assert value("mammoscope_ready") == 0


def test_drift_is_reported_once_there_are_enough_images(app: Flask, value: Read) -> None:
    client = app.test_client()
    for _ in range(200):
        assert value("mammoscope_drift_index", {"statistic": "logit"}) is None
        client.post("/predict", **upload(IMAGE))
    index = value("mammoscope_drift_index", {"statistic": "logit"})
    assert index is not None
    assert index > 0.25


@pytest.mark.abuse("auth")
def test_metrics_have_a_separate_port(app: Flask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        bind = f"127.0.0.1:{free.getsockname()[1]}"
    listen(make_wsgi_app(monitoring_of(app).registry), bind, "metrics", "MAMMOSCOPE_METRICS_BIND")
    told = requests.get(f"http://{bind}/metrics", timeout=10).text
    names = {family.name for family in text_string_to_metric_families(told)}
    assert {"mammoscope_requests", "mammoscope_stage_seconds", "mammoscope_ready"} <= names
    assert app.test_client().get("/metrics").status_code == 404


def test_a_metrics_port_in_use_does_not_stop_the_service(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        caplog.at_level(logging.ERROR, logger="mammoscope"),
    ):
        listen(app, f"127.0.0.1:{taken.getsockname()[1]}", "metrics", "MAMMOSCOPE_METRICS_BIND")
    assert app.test_client().post("/predict", **upload(IMAGE)).status_code == 200
