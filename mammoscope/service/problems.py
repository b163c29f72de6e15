"""Every error as ``application/problem+json`` (RFC 9457).

`STATUSES` is the only place that maps error classes to HTTP statuses.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from flask import Flask, Response, g, json, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from mammoscope import errors

_log = structlog.get_logger(__name__)

CLIENT_CLOSED_REQUEST: Final = 499
"""Not a standard status; nginx uses it for clients that disconnect."""

STATUSES: Final[Mapping[type[errors.MammoscopeError], int]] = {
    errors.MammoscopeError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ConfigurationError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.UsageError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ResultError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.StorageError: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.ImageError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.EmptyImageError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UnsupportedImageError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.CorruptImageError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ImageTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.DecodingLimitError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UnreadableFileError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.NoBreastError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotAMammogramError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.DatasetError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.DatasetNotFoundError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.EmptyDatasetError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.SingleClassError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.MetadataError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.LeakageError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.DownloadError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.RunError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ArtifactError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ArtifactNotFoundError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ArtifactMismatchError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.CompilationError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.FetchError: HTTPStatus.BAD_GATEWAY,
    errors.UrlNotAllowedError: HTTPStatus.BAD_REQUEST,
    errors.FetchTimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
    errors.FetchTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.FetchFailedError: HTTPStatus.BAD_GATEWAY,
    errors.RequestError: HTTPStatus.BAD_REQUEST,
    errors.InvalidRequestError: HTTPStatus.BAD_REQUEST,
    errors.UnsupportedMediaTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.RequestTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnknownModelError: HTTPStatus.NOT_FOUND,
    errors.UnauthorizedError: HTTPStatus.UNAUTHORIZED,
    errors.RateLimitedError: HTTPStatus.TOO_MANY_REQUESTS,
    errors.ServiceBusyError: HTTPStatus.TOO_MANY_REQUESTS,
    errors.UploadTimeoutError: HTTPStatus.REQUEST_TIMEOUT,
    errors.DeadlineExceededError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ClientGoneError: CLIENT_CLOSED_REQUEST,
    errors.NotReadyError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ArchiveError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ArchiveUnreachableError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ArchiveRefusedError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.IncompleteStudyError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.StateError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ServerAnswerError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ServerUnreachableError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""HTTP status of each error class; a test checks that none is missing.

Errors that only commands and clients raise have 500: the service would answer with an internal
error, without details.
"""

RETRY_AFTER_S: Final[Mapping[type[errors.MammoscopeError], int]] = {
    errors.ServiceBusyError: 1,
    errors.DeadlineExceededError: 5,
    errors.NotReadyError: 2,
}
"""Seconds after which the same request may succeed; rate limits have their own value."""

_TOO_LARGE: Final = errors.RequestTooLargeError.code
_INVALID: Final = errors.InvalidRequestError.code
_FRAMEWORK_PROBLEMS: Final[Mapping[int, tuple[str, str]]] = {
    HTTPStatus.BAD_REQUEST: (_INVALID, "The request is not well-formed."),
    HTTPStatus.NOT_FOUND: ("not_found", "There is nothing at this path."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed", "This path does not allow the method."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (
        _TOO_LARGE,
        "The body is too large or has too many parts.",
    ),
    HTTPStatus.REQUEST_URI_TOO_LONG: (_TOO_LARGE, "The path is too long."),
    HTTPStatus.EXPECTATION_FAILED: (_INVALID, "The only supported expectation is 100-continue."),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        _TOO_LARGE,
        "The headers are too many or too long.",
    ),
    HTTPStatus.NOT_IMPLEMENTED: (_INVALID, "The transfer coding of the body is not supported."),
    HTTPStatus.INTERNAL_SERVER_ERROR: (
        errors.MammoscopeError.code,
        "Internal error. Quote the request id to find it in the log.",
    ),
}
"""Code and detail of errors that gunicorn, Flask and Werkzeug raise."""

REFUSALS: Final = tuple(
    sorted(
        {
            (int(status), kind.code)
            for kind, status in STATUSES.items()
            if status != HTTPStatus.INTERNAL_SERVER_ERROR  # answered without details
        }
        | {(int(status), code) for status, (code, _) in _FRAMEWORK_PROBLEMS.items()}
    )
)
"""Status and ``code`` of all possible problem documents."""

SCRIPT_HEADER: Final = "X-Requested-With"
"""By custom, with it scripts of pages say that they ask."""

MEDIA_TYPE: Final = "application/problem+json"


def document(status: int, code: str, detail: str, request_id: str | None) -> dict[str, Any]:
    """Return a problem document; its ``code`` is for programs, its ``detail`` for people."""
    return {
        "type": f"urn:mammoscope:problem:{code}",
        "title": code.replace("_", " ").capitalize().replace("Url", "URL"),
        "status": int(status),
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }


def framework_document(status: int, request_id: str | None) -> dict[str, Any]:
    """Return the problem document of a request that never reached the application."""
    return document(status, *_framework_problem(status), request_id)


def _framework_problem(status: int) -> tuple[str, str]:
    return _FRAMEWORK_PROBLEMS.get(
        status, (errors.RequestError.code, "The request cannot be answered.")
    )


def problem(
    status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a problem document as the answer to the current request."""
    g.problem_code = code
    content = document(status, code, detail, g.get("request_id"))
    if request.path.startswith("/v2/"):
        content["error"] = detail  # the key of the inference protocol
    return Response(json.dumps(content), status, headers, content_type=MEDIA_TYPE)


def _answer_mammoscope_error(error: errors.MammoscopeError) -> Response:
    status = STATUSES.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return _answer_unexpected(error)
    return problem(status, error.code, str(error), _headers(error))


def _headers(error: errors.MammoscopeError) -> dict[str, str]:
    if isinstance(error, errors.UnauthorizedError):
        # To Basic a browser would ask for a name and a password, where the page asks for a key.
        basic = "" if request.headers.get(SCRIPT_HEADER) else ', Basic realm="mammoscope"'
        return {"WWW-Authenticate": f'Bearer realm="mammoscope"{basic}'}
    if isinstance(error, errors.RateLimitedError):
        return {"Retry-After": str(error.retry_after_s)}
    retry_after_s = RETRY_AFTER_S.get(type(error))
    return {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}


def _answer_framework_error(error: HTTPException) -> Response:
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    headers = {}
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return problem(status, *_framework_problem(status), headers)


def _answer_unexpected(error: Exception) -> Response:
    _log.error("unexpected_error", exc_info=error)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return problem(status, *_framework_problem(status))


def install(app: Flask) -> None:
    """Make `app` answer every error with a problem document."""
    app.register_error_handler(errors.MammoscopeError, _answer_mammoscope_error)
    app.register_error_handler(HTTPException, _answer_framework_error)
    app.register_error_handler(Exception, _answer_unexpected)
