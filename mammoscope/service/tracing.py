"""Request ids, one log line per request, and headers of every answer.

Log lines have the events and their times, but no URL, file name, address or image.
"""

import logging.config
import re
import sys
import time
import traceback
import uuid
from collections.abc import MutableMapping
from typing import Any, Final

import structlog
from flask import Flask, Response, g, request

REQUEST_ID_HEADER: Final = "X-Request-Id"

API_VERSION: Final = "1"
"""Version of the API; increases with incompatible changes. New keys of objects are compatible."""

API_VERSION_HEADER: Final = "Mammoscope-Api-Version"

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy: nothing from elsewhere; images that scripts have made are blobs."""

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS: Final = {
    API_VERSION_HEADER: API_VERSION,
    "Cache-Control": "no-store",
    "Content-Security-Policy": CONTENT_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_log = structlog.get_logger(__name__)


def install(app: Flask) -> None:
    """Give each request of `app` an id and a log line, and each answer its headers."""
    app.before_request(_begin)
    app.after_request(_finish)


def _begin() -> None:
    g.started = time.monotonic()
    received = request.headers.get(REQUEST_ID_HEADER, "")
    g.request_id = received if _REQUEST_ID.fullmatch(received) else uuid.uuid4().hex
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _finish(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers[REQUEST_ID_HEADER] = g.request_id
    rule = request.url_rule
    _log.info(
        "request",
        method=request.method if rule else None,
        route=rule.rule if rule else None,
        status=response.status_code,
        code=g.get("problem_code"),
        api_key=g.get("api_key"),
        duration_ms=round(1000 * (time.monotonic() - g.started), 1),
    )
    return response


def _describe_exception(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace an exception by its type and the lines of its traceback.

    The message is left out, because libraries put paths, names and values there.
    """
    received = event.pop("exc_info", None)
    if not received:
        return event
    if received is True:
        received = sys.exc_info()[1]
    error = received[1] if isinstance(received, tuple) else received
    if isinstance(error, BaseException):
        event["exception"] = type(error).__name__
        event["frames"] = [
            f"{frame.f_globals.get('__name__', '?')}:{line}"
            for frame, line in traceback.walk_tb(error.__traceback__)
        ]
    return event


_SHARED_PROCESSORS: Final[list[Any]] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _describe_exception,
]


def logging_configuration(level: str) -> dict[str, Any]:
    """Return a ``logging.config.dictConfig`` for JSON lines to stderr, without blocking.

    Libraries log from WARNING on, the package and its server from `level` on.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _SHARED_PROCESSORS,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.JSONRenderer(),
                ],
            }
        },
        "handlers": {
            "stderr": {
                "class": "mammoscope.service.log_handler.BoundedHandler",
                "formatter": "json",
            }
        },
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {
            name: {"level": level.upper(), "handlers": ["stderr"], "propagate": False}
            for name in ("mammoscope", "gunicorn.error")
        },
    }


def configure_logging(level: str) -> None:
    """Write this process's log as JSON lines to stderr, from `level` on."""
    logging.config.dictConfig(logging_configuration(level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED_PROCESSORS,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
