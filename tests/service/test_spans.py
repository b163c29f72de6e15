"""Traces as received by a collector."""

import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from flask import Flask
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mammoscope.errors import ConfigurationError
from mammoscope.service.app import spans_of
from mammoscope.settings.service import ServiceSettings
from tests.fake_engine import IMAGE, FakeEngine, app_with, upload
from tests.servers import server

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


class Collector:
    """Received spans by name."""

    def __init__(self) -> None:
        self.spans: dict[str, Any] = {}
        self.received = b""

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.received += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.spans |= {span.name: span for span in scope.spans}
        handler.send_response(200)
        handler.send_header("Content-Length", "0")
        handler.end_headers()


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def app(collector: Collector) -> Iterator[Flask]:
    with server(collector.take) as address:
        yield app_with(ServiceSettings(traces_endpoint=f"{address}/v1/traces"), FakeEngine())


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_a_request_and_its_stages_are_spans(app: Flask, collector: Collector) -> None:
    answer = app.test_client().post(
        "/predict?explain=false",
        **upload(IMAGE, name="meier.png"),
        headers={"traceparent": f"00-{TRACE}-{PARENT}-01"},
    )
    spans_of(app).send()
    request = collector.spans["POST /predict"]
    assert request.trace_id.hex() == TRACE
    assert request.parent_span_id.hex() == PARENT
    assert attributes(request) == {
        "http.route": "/predict",
        "http.response.status_code": 200,
        "mammoscope.request_id": answer.headers["X-Request-Id"],
    }
    for stage in ("queue", "decode"):
        span = collector.spans[stage]
        assert span.parent_span_id == request.span_id
        assert request.start_time_unix_nano <= span.start_time_unix_nano
        assert span.end_time_unix_nano <= request.end_time_unix_nano
    assert b"meier" not in collector.received


def test_finished_stages_are_consecutive(app: Flask, collector: Collector) -> None:
    spans = spans_of(app)
    spans.past({"prepare": 0.25, "infer": 0.5})
    spans.send()
    preprocess, infer = collector.spans["prepare"], collector.spans["infer"]
    assert preprocess.end_time_unix_nano - preprocess.start_time_unix_nano == 250_000_000
    assert infer.start_time_unix_nano == preprocess.end_time_unix_nano
    assert infer.end_time_unix_nano - infer.start_time_unix_nano == 500_000_000


def test_refusals_say_why(app: Flask, collector: Collector) -> None:
    client = app.test_client()
    client.post("/predict", **upload(b"meier"))
    client.get("/meier")
    spans_of(app).send()
    assert attributes(collector.spans["POST /predict"])["mammoscope.code"] == "unsupported_image"
    assert attributes(collector.spans["none"])["http.response.status_code"] == 404
    assert b"meier" not in collector.received


def test_an_unreachable_collector_does_not_stop_the_service() -> None:
    settings = ServiceSettings(traces_endpoint="http://127.0.0.1:1/v1/traces")
    client = app_with(settings, FakeEngine()).test_client()
    assert client.post("/predict", **upload(IMAGE)).status_code == 200


def test_tracing_packages_are_optional_without_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.setitem(sys.modules, name, None)
    client = app_with(ServiceSettings(), FakeEngine()).test_client()
    assert client.post("/predict", **upload(IMAGE)).status_code == 200
    with pytest.raises(ConfigurationError, match=r"mammoscope\[tracing\]"):
        app_with(ServiceSettings(traces_endpoint="http://127.0.0.1:1/"), FakeEngine())
