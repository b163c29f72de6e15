"""What the service tells Prometheus, on a port of its own."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from flask import Response, g, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from mammoscope.errors import MammoscopeError
from mammoscope.model.engine import Judgement
from mammoscope.service.drift import Drift, statistics
from mammoscope.service.engine_loading import ScoringEngine
from mammoscope.service.log_handler import dropped_lines
from mammoscope.service.request_queue import Admission
from mammoscope.service.spans import NoSpans, Spans

_STAGE_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_NO_ROUTE: Final = "none"
_PROBABILITIES: Final = tuple(step / 20 for step in range(1, 20))


class Monitoring:
    """Counts and times of one application.

    Parameters
    ----------
    engine
        Whose card says what training images were like, once it is there.
    admission
        Of which the queue is shown.
    spans
        What is told of the stages besides.
    """

    def __init__(
        self, engine: ScoringEngine, admission: Admission, spans: Spans | None = None
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
            "Seconds of the stages of an image: queue, decode, preprocess, infer.",
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
        self._show(
            "mammoscope_queue_waiting",
            "Requests waiting for their turn.",
            lambda: admission.waiting,
        )
        self._show("mammoscope_places_taken", "Requests admitted.", lambda: admission.admitted)
        self._show("mammoscope_places", "Requests that can be admitted.", lambda: admission.places)
        self._show(
            "mammoscope_ready",
            "Whether the service takes requests.",
            lambda: not admission.draining and _has_model(engine),
        )
        self._keys_unreadable = Gauge(
            "mammoscope_api_keys_unreadable_seconds",
            "Seconds for which the file of API keys could not be read; 0 where it can be.",
            registry=self.registry,
        )
        self.registry.register(_LogCollector())
        self._drift = _DriftCollector(engine)
        self.registry.register(self._drift)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; one that fails is not counted."""
        began = time.perf_counter()
        with self._spans.stage(name):
            yield
        self._stage_seconds.labels(name).observe(time.perf_counter() - began)

    def judged(self, judged: Judgement) -> None:
        """Count a judgement."""
        for stage, seconds in judged.stage_s.items():
            self._stage_seconds.labels(stage).observe(seconds)
        self._spans.past(judged.stage_s)
        self._probability.observe(judged.prediction.probability)
        self._drift.see(judged)

    def answered(self, response: Response) -> Response:
        """Count an answer; to be called after each request."""
        route = request.url_rule.rule if request.url_rule else _NO_ROUTE
        code = g.get("problem_code") or ""
        self._requests.labels(route, str(response.status_code), code).inc()
        self._request_seconds.labels(route).observe(time.monotonic() - g.started)
        return response

    def refused(self, status: int, code: str) -> None:
        """Count a refusal that the application knows nothing of."""
        self._requests.labels(_NO_ROUTE, str(int(status)), code).inc()

    def watch_keys(self, unreadable_s: Callable[[], float]) -> None:
        """Show for how many seconds the file of keys could not be read."""
        self._keys_unreadable.set_function(unreadable_s)

    def _show(self, name: str, description: str, value: Callable[[], float]) -> None:
        Gauge(name, description, registry=self.registry).set_function(value)


class _DriftCollector(Collector):
    """Drift, computed when it is asked for."""

    def __init__(self, engine: ScoringEngine) -> None:
        self._engine = engine
        self._made: Drift | None = None

    def see(self, judged: Judgement) -> None:
        # Of two threads that come first, one loses an image; no lock is worth that.
        if self._made is None:
            self._made = Drift(self._engine.card.distributions)
        self._made.see(statistics(judged))

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "mammoscope_drift_index",
            "Population stability index of the last images against the training images.",
            labels=("statistic",),
        )
        for name, index in (self._made.indices() if self._made else {}).items():
            family.add_metric([name], index)
        yield family


class _LogCollector(Collector):
    """What the log could not take."""

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "mammoscope_log_lines_dropped",
            "Lines of the log that were dropped since nobody read it fast enough.",
            value=dropped_lines(),
        )


def _has_model(engine: ScoringEngine) -> bool:
    try:
        return bool(engine.card)
    except MammoscopeError:
        return False
