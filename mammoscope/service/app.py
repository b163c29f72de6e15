"""The application factory."""

from typing import Final

from flask import Flask

from mammoscope.service import (
    authorization,
    openapi,
    predict_routes,
    problems,
    status_routes,
    tracing,
    v2_routes,
)
from mammoscope.service.engine_loading import ScoringEngine
from mammoscope.service.monitoring import Monitoring
from mammoscope.service.predicting import Judging
from mammoscope.service.request_parsing import MULTIPART_OVERHEAD_BYTES, InMemoryRequest
from mammoscope.service.request_queue import Admission
from mammoscope.service.spans import CollectedSpans
from mammoscope.settings import ServiceSettings

_MAX_FORM_PARTS: Final = 8
"""Enough to tell "two files" from "one file", and no more."""

_MAX_FORM_FIELD_BYTES: Final = 128 * 1024
"""For text no form here has; Werkzeug needs room for a block of 64 kB of a file all the same."""

_ADMISSION: Final = "mammoscope.admission"
_MONITORING: Final = "mammoscope.monitoring"
_SPANS: Final = "mammoscope.spans"


def create_app(settings: ServiceSettings, engine: ScoringEngine) -> Flask:
    """Return the WSGI application that answers with `engine` under `settings`.

    Building it starts nothing, fetches nothing and reads nothing but the file of API keys.

    Raises
    ------
    ConfigurationError
        If API keys are asked for and their file cannot be read, or traces and their packages are
        not installed.
    """
    app = Flask(__name__)
    app.request_class = InMemoryRequest
    app.config.update(
        # Held against Content-Length before a byte is read, and against the stream where the
        # body is chunked.
        MAX_CONTENT_LENGTH=settings.max_image_bytes + MULTIPART_OVERHEAD_BYTES,
        MAX_FORM_PARTS=_MAX_FORM_PARTS,
        MAX_FORM_MEMORY_SIZE=_MAX_FORM_FIELD_BYTES,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    admission = Admission(
        turns=settings.request_threads,
        queue_size=settings.queue_size,
        max_bytes=settings.max_waiting_bytes,
        timeout_s=settings.request_timeout_s,
    )
    spans = CollectedSpans(settings.traces_endpoint) if settings.traces_endpoint else None
    monitoring = Monitoring(engine, admission, spans)
    app.extensions.update({_ADMISSION: admission, _MONITORING: monitoring, _SPANS: spans})
    judging = Judging(settings, engine, admission, monitoring)
    tracing.install(app)
    if spans is not None:
        spans.install(app)
    problems.install(app)
    app.after_request(monitoring.answered)
    keys = authorization.install(app, settings)
    if keys is not None:
        monitoring.watch_keys(keys.unreadable_s)
    app.register_blueprint(status_routes.blueprint(settings, engine, admission))
    app.register_blueprint(predict_routes.blueprint(judging))
    app.register_blueprint(v2_routes.blueprint(judging))
    app.register_blueprint(openapi.blueprint(keys=settings.api_keys_file is not None))
    return app


def admission_of(app: Flask) -> Admission:
    """Return who decides which requests `app` takes up."""
    admission: Admission = app.extensions[_ADMISSION]
    return admission


def monitoring_of(app: Flask) -> Monitoring:
    """Return what `app` tells Prometheus."""
    monitoring: Monitoring = app.extensions[_MONITORING]
    return monitoring


def spans_of(app: Flask) -> CollectedSpans | None:
    """Return what `app` sends to a collector of traces, None where there is none."""
    spans: CollectedSpans | None = app.extensions[_SPANS]
    return spans
