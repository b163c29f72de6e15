"""Metrics of a worker for Prometheus."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from mammoscope.archive.state import Stage, State
from mammoscope.errors import StateError

_SECONDS: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Monitoring:
    """Counts what a worker does; a `mammoscope.archive.worker.Watcher`.

    Parameters
    ----------
    state
        The queue, which is read on each scrape.
    """

    def __init__(self, state: State) -> None:
        self.registry: Final = CollectorRegistry()
        self._seconds = Histogram(
            "mammoscope_archive_study_seconds",
            "Seconds of work on a study, by the stage at the end.",
            ("stage",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._waits = Counter(
            "mammoscope_archive_waits",
            "Times the worker waited because archive, state or disk could not be used, by error.",
            ("code",),
            registry=self.registry,
        )
        self.registry.register(_Queue(state))
        ProcessCollector(registry=self.registry)

    def finished(self, stage: Stage, seconds: float) -> None:
        """Count a study."""
        self._seconds.labels(stage).observe(seconds)

    def waited(self, code: str) -> None:
        """Count a wait."""
        self._waits.labels(code).inc()


class _Queue(Collector):
    """The queue, which all workers share; nothing while it cannot be read."""

    def __init__(self, state: State) -> None:
        self._state = state

    def collect(self) -> Iterable[Metric]:
        studies = GaugeMetricFamily(
            "mammoscope_archive_studies", "Studies in the state, by stage.", labels=("stage",)
        )
        oldest = GaugeMetricFamily(
            "mammoscope_archive_oldest_seconds",
            "Seconds for which the oldest pending study has waited.",
        )
        try:
            for stage, number in self._state.counts().items():
                studies.add_metric([stage], number)
            oldest.add_metric([], self._state.oldest_s())
        except StateError:
            return
        yield studies
        yield oldest
