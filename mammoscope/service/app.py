"""The application factory."""

from typing import Final

from flask import Flask

from mammoscope.service import problems, routes, tracing
from mammoscope.service.loading import ScoringEngine
from mammoscope.service.submission import InMemoryRequest
from mammoscope.settings import ServiceSettings

_MULTIPART_OVERHEAD_BYTES: Final = 64 * 1024
"""What boundaries and part headers may add to a file of the largest size."""

_MAX_FORM_PARTS: Final = 8
"""Enough to tell "two files" from "one file", and no more."""

_MAX_FORM_FIELD_BYTES: Final = 128 * 1024
"""For text no form here has; Werkzeug needs room for a block of 64 kB of a file all the same."""


def create_app(settings: ServiceSettings, engine: ScoringEngine) -> Flask:
    """Return the WSGI application that answers with `engine` under `settings`.

    Building it starts nothing, reads nothing and fetches nothing.
    """
    app = Flask(__name__)
    app.request_class = InMemoryRequest
    app.config.update(
        # Held against Content-Length before a byte is read, and against the stream where the
        # body is chunked.
        MAX_CONTENT_LENGTH=settings.max_image_bytes + _MULTIPART_OVERHEAD_BYTES,
        MAX_FORM_PARTS=_MAX_FORM_PARTS,
        MAX_FORM_MEMORY_SIZE=_MAX_FORM_FIELD_BYTES,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    tracing.install(app)
    problems.install(app)
    app.register_blueprint(routes.blueprint(settings, engine))
    return app
