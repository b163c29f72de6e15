"""Read the encoded images, or their URL, from an HTTP request."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from flask import Request

from mammoscope.errors import InvalidRequestError, RequestTooLargeError, UnsupportedMediaTypeError
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.model.prediction import AGES_YEARS
from mammoscope.service.content_encoding import compression
from mammoscope.service.fetching import fetch
from mammoscope.service.forms import FormParser
from mammoscope.settings.service import ServiceSettings
from mammoscope.studies import Placement

FILE_FIELD: Final = "file"
"""Name of the form field with the image."""

AGE_FIELD: Final = "age"
"""Name of the form field, JSON key or query parameter with the woman's age in years."""

DICOM_TYPE: Final = "application/dicom"
"""Media type of DICOM files (RFC 3240)."""

PATIENT_FIELD: Final = "patient"
LATERALITY_FIELD: Final = "laterality"
VIEW_FIELD: Final = "view"
"""Names of the form fields with patient, laterality and view of the images of a study."""

MULTIPART_OVERHEAD_BYTES: Final = 64 * 1024
"""Maximum number of bytes that boundaries and part headers add to a file."""

_MAX_JSON_BYTES: Final = 16 * 1024
_LONGEST_NAME: Final = 255
_BLOCK_BYTES: Final = 64 * 1024

_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True, eq=False)
class Submission:
    """An encoded image, and the woman's age in years if given."""

    image: bytes
    age: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class UploadedImage:
    """An encoded image of a study, with its name from the client."""

    name: str
    data: bytes
    placement: Placement


class InMemoryRequest(Request):
    """A request that keeps uploads in memory."""

    form_data_parser_class = FormParser


def submission(
    request: Request, settings: ServiceSettings, hold: Callable[[int], None]
) -> Submission:
    """Return the encoded image in `request`, or at its URL, and the age.

    Parameters
    ----------
    request
        The client's request.
    settings
        Limits on fetching.
    hold
        Reserves memory for a number of bytes before they are fetched; raises if there is none.

    Raises
    ------
    UnsupportedMediaTypeError
        If the body is neither JSON, nor a form with a file, nor an image, or is compressed.
    RequestTooLargeError
        If a body of unknown length is too large.
    InvalidRequestError
        If the body does not have exactly one image, or is incomplete; or if the age is not an
        adult's age in years, or given twice.
    FetchError
        If the image at the URL cannot be fetched.
    ServiceBusyError
        If `hold` cannot reserve memory for the image.
    """
    image, url, age = b"", None, None
    try:
        if request.mimetype == "application/json":
            request.max_content_length = _MAX_JSON_BYTES
            url, age = _named(whole_body(request))
        elif request.mimetype == "multipart/form-data":
            image, age = _form(request)
        elif request.mimetype.startswith("image/") or request.mimetype == DICOM_TYPE:
            image = bytes(whole_body(request))
        else:
            raise UnsupportedMediaTypeError(
                "The Content-Type must be application/json with a url, multipart/form-data with "
                f"a file, or the image's own image type or {DICOM_TYPE}."
            )
    except OSError as err:  # broken connection or chunked encoding
        raise InvalidRequestError("The body is incomplete.") from err
    years = _age(*request.args.getlist(AGE_FIELD), age)
    return Submission(image if url is None else fetch(url, settings, hold=hold), years)


def study_submission(request: Request, settings: ServiceSettings) -> list[UploadedImage]:
    """Return the encoded images of a study, in the order in which they were sent.

    Raises
    ------
    UnsupportedMediaTypeError
        If the body is not a form, or is compressed.
    RequestTooLargeError
        If there are more images or bytes than allowed.
    InvalidRequestError
        If a field is unknown, has an invalid value, or is given neither once nor once per file; or
        if there are no files, or the body is incomplete.
    """
    if request.mimetype != "multipart/form-data":
        raise UnsupportedMediaTypeError("The Content-Type must be multipart/form-data.")
    require_plain(request)
    most = settings.max_study_images
    request.max_form_parts = 4 * most + 1
    try:
        files = list(request.files.items(multi=True))
    except OSError as err:  # broken connection or chunked encoding
        raise InvalidRequestError("The body is incomplete.") from err
    if len(files) > most:
        raise RequestTooLargeError(f"The form has {len(files)} files; at most {most} are allowed.")
    unknown = set(request.form) - {PATIENT_FIELD, LATERALITY_FIELD, VIEW_FIELD}
    if not files or unknown or any(name != FILE_FIELD for name, _ in files):
        raise InvalidRequestError(
            f'The form must have files, each as "{FILE_FIELD}", and no other fields except '
            f'"{PATIENT_FIELD}", "{LATERALITY_FIELD}" and "{VIEW_FIELD}".'
        )
    placements = _placements(request, len(files))
    images = []
    for number, ((_, file), placement) in enumerate(zip(files, placements, strict=True), start=1):
        name = (file.filename or f"image {number}")[:_LONGEST_NAME]
        images.append(UploadedImage(name, file.read(), placement))
    return images


def _placements(request: Request, files: int) -> list[Placement]:
    """Return patient, laterality and view of a study's images, from the form."""
    given = {}
    for name in (PATIENT_FIELD, LATERALITY_FIELD, VIEW_FIELD):
        values = request.form.getlist(name)
        if len(values) not in (0, 1, files):
            raise InvalidRequestError(
                f'"{name}" must be given once for all files, or once for each file in order.'
            )
        given[name] = values * files if len(values) == 1 else values or [""] * files
    try:
        return [
            Placement(
                patient=patient[:_LONGEST_NAME] or None,
                laterality=Laterality(laterality) if laterality else None,
                view=View(view) if view else None,
            )
            for patient, laterality, view in zip(*given.values(), strict=True)
        ]
    except ValueError as err:
        raise InvalidRequestError(
            f'"{LATERALITY_FIELD}" must be L or R and "{VIEW_FIELD}" one of {", ".join(View)}, '
            "or empty if unknown."
        ) from err


def flag(request: Request, name: str) -> bool:
    """Value of a boolean query parameter; False if it is missing.

    Raises
    ------
    InvalidRequestError
        If it is no boolean.
    """
    given = request.args.get(name, "false").lower()
    if given not in _FLAGS:
        raise InvalidRequestError(f'"{name}" must be one of {", ".join(_FLAGS)}.')
    return _FLAGS[given]


def require_plain(request: Request) -> None:
    """Refuse a compressed body, which could expand without limit; images are compressed anyway.

    Raises
    ------
    UnsupportedMediaTypeError
        If there is a Content-Encoding; the message names it.
    """
    if encoding := compression(request.headers.get("Content-Encoding", "")):
        raise UnsupportedMediaTypeError(
            f"The body has the Content-Encoding {encoding}; send it without one."
        )


def whole_body(request: Request) -> bytearray:
    """Return the whole body, or refuse it; the framework might silently return only a part.

    Raises
    ------
    UnsupportedMediaTypeError
        If it is compressed.
    RequestTooLargeError
        If a body of unknown length is too large.
    InvalidRequestError
        If it is incomplete.
    """
    require_plain(request)
    data = bytearray()
    try:
        while block := request.stream.read(_BLOCK_BYTES):
            data += block  # joining blocks at the end would block all other threads
    except OSError as err:  # broken connection or chunked encoding
        raise InvalidRequestError("The body is incomplete.") from err
    announced, limit = request.content_length, request.max_content_length
    if announced is not None and len(data) != announced:
        raise InvalidRequestError("The body is incomplete.")
    if announced is None and limit is not None and len(data) >= limit:
        raise RequestTooLargeError(f"The body reaches the limit of {limit} bytes.")
    return data


def _named(body: bytearray) -> tuple[str, object]:
    """Return URL and age from a JSON body."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as err:
        raise InvalidRequestError("The body is not JSON.") from err
    if not isinstance(content, dict) or not {"url"} <= set(content) <= {"url", AGE_FIELD}:
        raise InvalidRequestError(
            f'The JSON must be an object with "url" and optionally "{AGE_FIELD}", nothing else.'
        )
    url = content["url"]
    if not isinstance(url, str):
        raise InvalidRequestError('"url" must be a string.')
    return url, content.get(AGE_FIELD)


def _form(request: Request) -> tuple[bytes, str | None]:
    """Return image and age from a form."""
    require_plain(request)
    files = list(request.files.items(multi=True))
    fields = list(request.form.items(multi=True))
    if len(files) != 1 or [name for name, _ in fields] not in ([], [AGE_FIELD]):
        raise InvalidRequestError(
            f'The form must have exactly one file, "{FILE_FIELD}", and no other fields except '
            f'"{AGE_FIELD}"; received files: {len(files)}, fields: {len(fields)}.'
        )
    name, file = files[0]
    if name != FILE_FIELD:
        raise InvalidRequestError(f'Send the image in the form field "{FILE_FIELD}".')
    data: bytes = file.read()
    return data, fields[0][1] if fields else None


def _age(*given: object) -> float | None:
    """Return the age in years; None if not given."""
    ages = [each for each in given if each is not None and each != ""]
    if not ages:
        return None
    if len(ages) > 1:
        raise InvalidRequestError(f'"{AGE_FIELD}" must be given once.')
    low, high = AGES_YEARS
    try:
        # In Python, JSON's true is a number.
        years = math.nan if isinstance(ages[0], bool) else float(ages[0])  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):  # integers in JSON have no largest value
        years = math.nan
    if not low <= years <= high:
        raise InvalidRequestError(f'"{AGE_FIELD}" must be a number of years from {low} to {high}.')
    return years
