"""HTTP request to the encoded picture it brings or names."""

import io
import json
from typing import IO, Final

from flask import Request

from mammoscope.errors import InvalidRequestError, RequestTooLargeError, UnsupportedMediaTypeError
from mammoscope.fetching import fetch
from mammoscope.settings import ServiceSettings

FILE_FIELD: Final = "file"
"""Name of the form field that carries the picture."""

DICOM_TYPE: Final = "application/dicom"
"""Media type of DICOM files (RFC 3240)."""

_MAX_JSON_BYTES: Final = 16 * 1024


class InMemoryRequest(Request):
    """A request whose uploads never touch a disk.

    Werkzeug spools files over 500 kB into the temporary folder. Pictures of patients do not belong
    there, and a read-only or full disk must not stop the service. What this takes at most is
    bounded: the cap on the body times the number of HTTP threads.
    """

    # The signature is the framework's.
    def _get_file_stream(
        self,
        total_content_length: int | None,  # noqa: ARG002
        content_type: str | None,  # noqa: ARG002
        filename: str | None = None,  # noqa: ARG002
        content_length: int | None = None,  # noqa: ARG002
    ) -> IO[bytes]:
        return io.BytesIO()


def submitted_picture(request: Request, settings: ServiceSettings) -> bytes:
    """Return the encoded picture that `request` brings, or whose URL it names.

    Raises
    ------
    UnsupportedMediaTypeError
        If the body is neither JSON, nor a form with a file, nor a picture.
    RequestTooLargeError
        If a body of unknown length does not end.
    InvalidRequestError
        If the body does not name or bring exactly one picture, or broke off.
    FetchError
        If the picture is given by URL and cannot be had.
    """
    try:
        if request.mimetype == "application/json":
            request.max_content_length = _MAX_JSON_BYTES
            url = _url(_body(request))
        elif request.mimetype == "multipart/form-data":
            return _file(request)
        elif request.mimetype.startswith("image/") or request.mimetype == DICOM_TYPE:
            return _body(request)
        else:
            raise UnsupportedMediaTypeError(
                "The Content-Type must be application/json with a url, multipart/form-data with "
                f"a file, or the picture's own image type or {DICOM_TYPE}."
            )
    except OSError as err:  # the connection, or its chunked encoding, broke
        raise InvalidRequestError("The body broke off before its end.") from err
    return fetch(url, settings)


def _body(request: Request) -> bytes:
    """Return the whole body, or refuse it; the framework may hand out a part in silence."""
    data = request.get_data(cache=False)
    announced, limit = request.content_length, request.max_content_length
    if announced is not None and len(data) != announced:
        raise InvalidRequestError("The body broke off before its end.")
    if announced is None and limit is not None and len(data) >= limit:
        raise RequestTooLargeError(f"The body has {limit} bytes or more, which is too much.")
    return data


def _url(body: bytes) -> str:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as err:
        raise InvalidRequestError("The body is not JSON.") from err
    if not isinstance(content, dict) or set(content) != {"url"}:
        raise InvalidRequestError('The JSON must be an object with "url" and nothing else.')
    url = content["url"]
    if not isinstance(url, str):
        raise InvalidRequestError('"url" must be a string.')
    return url


def _file(request: Request) -> bytes:
    files = list(request.files.items(multi=True))
    if len(files) != 1 or request.form:
        raise InvalidRequestError(
            f'The form must have exactly one file, "{FILE_FIELD}", and no other field; '
            f"received {len(files)} files and {len(list(request.form.items(multi=True)))} fields."
        )
    name, file = files[0]
    if name != FILE_FIELD:
        raise InvalidRequestError(f'The form\'s file must be the field "{FILE_FIELD}".')
    data: bytes = file.read()
    return data
