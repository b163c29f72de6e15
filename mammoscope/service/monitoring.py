"""Metrics for Prometheus, on their own port."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from flask import Response, g, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from mammoscope.model.engine import Engine
from mammoscope.model.prediction import Prediction
from mammoscope.service.drift import Drift, statistics
from mammoscope.service.log_handler import dropped_lines
from mammoscope.service.readiness import REASONS, Readiness
from mammoscope.service.request_queue import RequestQueue
from mammoscope.service.spans import NoSpans, Spans

_STAGE_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_NO_ROUTE: Final = "none"
_PROBABILITIES: Final = tuple(step / 20 for step in range(1, 20))


class Monitoring:
    """Metrics of one application.

    Parameters
    ----------
    engine
        Source of the training images' statistics, for drift.
    queue
        The request queue, whose state is exposed.
    readiness
        Whether the service accepts requests.
    spans
        Receives the stages as spans, too.
    """

    def __init__(
        self,
        engine: Engine,
        queue: RequestQueue,
        readiness: Readiness,
        spans: Spans | None = None,
    ) -> None:
        self._spans: Final = spans or NoSpans()
        self.registry: Final = CollectorRegistry()
        self._requests = Counter(
            "mammoscope_requests",
            "Requests answered, by route, status and code of the refusal.",
            ("route", "status", "code"),
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "mammoscope_request_seconds",
            "Seconds from a request's head to its answer.",
            ("route",),
            buckets=_STAGE_SECONDS,
            registry=self.registry,
        )
        self._stage_seconds = Histogram(
            "mammoscope_stage_seconds",
            "Seconds of the stages of an image: queue, read (of which decode and prepare), infer.",
            ("stage",),
            buckets=_STAGE_SECONDS,
            registry=self.registry,
        )
        self._probability = Histogram(
            "mammoscope_probability",
            "Probabilities answered.",
            buckets=_PROBABILITIES,
            registry=self.registry,
        )
        self._show("mammoscope_queue_waiting", "Requests waiting to run.", lambda: queue.waiting)
        self._show(
            "mammoscope_places_taken", "Slots of the queue taken.", lambda: queue.slots_taken
        )
        self._show("mammoscope_places", "Slots of the queue.", lambda: queue.slots)
        self._show(
            "mammoscope_ready",
            "Whether the service accepts requests.",
            lambda: not readiness.reasons(),
        )
        not_ready = Gauge(
            "mammoscope_not_ready",
            "Whether this reason for not accepting requests holds.",
            ("reason",),
            registry=self.registry,
        )
        for reason in REASONS:
            not_ready.labels(reason).set_function(partial(_holds, readiness, reason))
        self._keys_unreadable = Gauge(
            "mammoscope_api_keys_unreadable_seconds",
            "Seconds for which the file of API keys could not be read; 0 if it can be read.",
            registry=self.registry,
        )
        self.registry.register(_LogCollector())
        self._drift = _DriftCollector(engine)
        self.registry.register(self._drift)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; a stage that fails is not counted."""
        began = time.perf_counter()
        with self._spans.stage(name):
            yield
        self._stage_seconds.labels(name).observe(time.perf_counter() - began)

    def predicted(self, prediction: Prediction) -> None:
        """Count a prediction."""
        for stage, seconds in prediction.stage_s.items():
            self._stage_seconds.labels(stage).observe(seconds)
        self._spans.past(prediction.stage_s)
        self._probability.observe(prediction.probability)
        self._drift.add(prediction)

    def answered(self, response: Response) -> Response:
        """Count an answer; call it after each request."""
        route = request.url_rule.rule if request.url_rule else _NO_ROUTE
        code = g.get("problem_code") or ""
        self._requests.labels(route, str(response.status_code), code).inc()
        self._request_seconds.labels(route).observe(time.monotonic() - g.started)
        return response

    def refused(self, status: int, code: str) -> None:
        """Count a request that was refused before it reached the application."""
        self._requests.labels(_NO_ROUTE, str(int(status)), code).inc()

    def watch_keys(self, unreadable_s: Callable[[], float]) -> None:
        """Expose the number of seconds for which the key file could not be read."""
        self._keys_unreadable.set_function(unreadable_s)

    def _show(self, name: str, description: str, value: Callable[[], float]) -> None:
        Gauge(name, description, registry=self.registry).set_function(value)


class _DriftCollector(Collector):
    """Drift index, computed on each scrape."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._made: Drift | None = None

    def add(self, prediction: Prediction) -> None:
        # If two threads create it at once, one image is lost; that is not worth a lock.
        if self._made is None:
            self._made = Drift(self._engine.card.distributions)
        self._made.add(statistics(prediction))

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "mammoscope_drift_index",
            "Population stability index of the latest images against the training images.",
            labels=("statistic",),
        )
        for name, index in (self._made.indices() if self._made else {}).items():
            family.add_metric([name], index)
        yield family


class _LogCollector(Collector):
    """Number of lines that the log dropped."""

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "mammoscope_log_lines_dropped",
            "Log lines that were dropped because the log's reader was too slow.",
            value=dropped_lines(),
        )


def _holds(readiness: Readiness, reason: str) -> bool:
    return reason in readiness.reasons()
