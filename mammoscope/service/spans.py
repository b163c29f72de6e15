"""Traces for OpenTelemetry, if a collector is set.

A request is a span and its stages are child spans. They have the same facts as the log: route,
status, code and times, but no URL, name or address. Without a collector, OpenTelemetry is neither
imported nor needed.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

import structlog
from flask import Flask, Response, g, request

from mammoscope import __version__
from mammoscope.errors import ConfigurationError

_NAME: Final = "mammoscope"
_NANOSECONDS: Final = 1_000_000_000

_SENDING_S: Final = 3
"""Timeout of the collector in seconds; an unreachable collector must not delay shutdown."""


class Spans(Protocol):
    """Receives the stages of a request."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record the block as a span."""
        ...

    def past(self, stage_s: Mapping[str, float]) -> None:
        """Record consecutive stages that have just ended; values are seconds."""
        ...


class NoSpans:
    """Traces are off."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:  # noqa: ARG002 as `Spans` has it
        """Record nothing."""
        yield

    def past(self, stage_s: Mapping[str, float]) -> None:
        """Record nothing."""


class CollectedSpans:
    """Spans that a background thread sends to a collector.

    Parameters
    ----------
    endpoint
        URL of the collector, for OTLP over HTTP.

    Raises
    ------
    ConfigurationError
        If the required packages are not installed.
    """

    def __init__(self, endpoint: str) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as err:
            raise ConfigurationError(
                "Traces need packages that are not installed. Run: pip install "
                "'mammoscope[tracing]' (in a checkout: make environment)"
            ) from err
        self._trace: Final = trace
        resource = Resource.create({"service.name": _NAME, "service.version": __version__})
        self._provider: Final = TracerProvider(resource=resource)
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=_SENDING_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer: Final = self._provider.get_tracer(_NAME, __version__)

    def install(self, app: Flask) -> None:
        """Record each request to `app` as a span, in the client's trace if it gives one."""
        app.before_request(self._begin)
        app.after_request(self._answered)
        app.teardown_request(self._end)

    def send(self) -> None:
        """Send the remaining spans, and wait until they are sent."""
        self._provider.force_flush()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record the block as a span."""
        with self._tracer.start_as_current_span(name, record_exception=False):
            yield

    def past(self, stage_s: Mapping[str, float]) -> None:
        """Record consecutive stages that have just ended; values are seconds."""
        at = time.time_ns() - round(sum(stage_s.values()) * _NANOSECONDS)
        for name, seconds in stage_s.items():
            span = self._tracer.start_span(name, start_time=at)
            at += round(seconds * _NANOSECONDS)
            span.end(at)

    def _begin(self) -> None:
        from opentelemetry import context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        of_client = TraceContextTextMapPropagator().extract(request.headers)
        route = request.url_rule.rule if request.url_rule else "none"
        span = self._tracer.start_span(
            f"{request.method} {route}" if request.url_rule else "none",
            context=of_client,
            kind=self._trace.SpanKind.SERVER,
            attributes={"http.route": route, "mammoscope.request_id": g.request_id},
        )
        g.span = span
        g.span_token = context.attach(self._trace.set_span_in_context(span, of_client))
        trace_id = f"{span.get_span_context().trace_id:032x}"
        structlog.contextvars.bind_contextvars(trace_id=trace_id)

    def _answered(self, response: Response) -> Response:
        g.span.set_attribute("http.response.status_code", response.status_code)
        if code := g.get("problem_code"):
            g.span.set_attribute("mammoscope.code", code)
        if response.status_code >= 500:
            g.span.set_status(self._trace.StatusCode.ERROR)
        return response

    def _end(self, error: Any) -> None:  # noqa: ARG002 Flask's signature
        from opentelemetry import context

        if (span := g.pop("span", None)) is not None:
            span.end()
            context.detach(g.pop("span_token"))
