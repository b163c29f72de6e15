"""The application factory."""

from typing import Final

from flask import Flask

from mammoscope.imaging.network_input import Reader
from mammoscope.model.engine import Engine
from mammoscope.service import (
    authorization,
    display_routes,
    openapi,
    page_routes,
    predict_routes,
    problems,
    status_routes,
    tracing,
    v2_routes,
)
from mammoscope.service.monitoring import Monitoring
from mammoscope.service.path_prefix import PathPrefix
from mammoscope.service.predicting import Predictor
from mammoscope.service.readiness import Readiness
from mammoscope.service.request_parsing import MULTIPART_OVERHEAD_BYTES, InMemoryRequest
from mammoscope.service.request_queue import RequestQueue
from mammoscope.service.spans import CollectedSpans
from mammoscope.settings.service import ServiceSettings

_MAX_FORM_PARTS: Final = 8
"""Enough to report two files as an error; a form has one file and one field."""

_MAX_FORM_FIELD_BYTES: Final = 128 * 1024
"""Werkzeug buffers files in blocks of 64 kB, even though forms here have little text."""

_QUEUE: Final = "mammoscope.request_queue"
_MONITORING: Final = "mammoscope.monitoring"
_SPANS: Final = "mammoscope.spans"


def create_app(settings: ServiceSettings, engine: Engine, reader: Reader) -> Flask:
    """Return the WSGI application that answers with `engine` under `settings`.

    `reader` reads the images; `mammoscope.imaging.pool.ReadingPool` does so in isolated processes.

    It starts nothing, fetches nothing and reads only the file of API keys.

    Raises
    ------
    ConfigurationError
        If the file of API keys cannot be read, or traces are on and their packages are not
        installed.
    """
    app = Flask(__name__)
    app.wsgi_app = PathPrefix(app.wsgi_app, settings.trusted_proxies or ())  # type: ignore[method-assign]
    app.request_class = InMemoryRequest
    app.config.update(
        # Checked against Content-Length before a byte is read, and while a chunked body is read.
        MAX_CONTENT_LENGTH=settings.max_image_bytes + MULTIPART_OVERHEAD_BYTES,
        MAX_FORM_PARTS=_MAX_FORM_PARTS,
        MAX_FORM_MEMORY_SIZE=_MAX_FORM_FIELD_BYTES,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    queue = RequestQueue(
        concurrency=settings.concurrency,
        queue_size=settings.queue_size,
        max_bytes=settings.max_waiting_bytes,
        timeout_s=settings.request_timeout_s,
    )
    spans = CollectedSpans(settings.traces_endpoint) if settings.traces_endpoint else None
    readiness = Readiness(engine, queue, settings.full_queue_grace_s)
    monitoring = Monitoring(engine, queue, readiness, spans)
    app.extensions.update({_QUEUE: queue, _MONITORING: monitoring, _SPANS: spans})
    predictor = Predictor(settings, engine, reader, queue, monitoring)
    tracing.install(app)
    if spans is not None:
        spans.install(app)
    problems.install(app)
    app.after_request(monitoring.answered)
    keys = authorization.install(app, settings)
    if keys is not None:
        monitoring.watch_keys(keys.unreadable_s)
    app.before_request(openapi.require_known_parameters)
    app.register_blueprint(page_routes.blueprint(settings))
    app.register_blueprint(status_routes.blueprint(settings, engine, readiness))
    app.register_blueprint(predict_routes.blueprint(predictor))
    app.register_blueprint(display_routes.blueprint(predictor))
    app.register_blueprint(v2_routes.blueprint(predictor, readiness))
    app.register_blueprint(openapi.blueprint(keys=settings.api_keys_file is not None))
    return app


def queue_of(app: Flask) -> RequestQueue:
    """Return the request queue of `app`."""
    queue: RequestQueue = app.extensions[_QUEUE]
    return queue


def monitoring_of(app: Flask) -> Monitoring:
    """Return the Prometheus metrics of `app`."""
    monitoring: Monitoring = app.extensions[_MONITORING]
    return monitoring


def spans_of(app: Flask) -> CollectedSpans | None:
    """Return the OpenTelemetry spans of `app`; None if traces are off."""
    spans: CollectedSpans | None = app.extensions[_SPANS]
    return spans
