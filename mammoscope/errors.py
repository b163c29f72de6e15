"""All errors that Mammoscope raises deliberately.

::

    MammoscopeError
    ├── ConfigurationError            a setting, option or record that cannot be used
    │   └── UsageError                a command line that does not say what it wants
    ├── ResultError                   results of a study that cannot be written as DICOM objects
    ├── StorageError                  a disk that is full or a folder that cannot be written
    ├── ImageError                    this image is refused
    │   ├── EmptyImageError
    │   ├── UnsupportedImageError     an unsupported format or kind of image
    │   ├── CorruptImageError
    │   ├── ImageTooLargeError
    │   ├── DecodingLimitError        reading it takes more time or memory than allowed
    │   ├── UnreadableFileError       the file cannot be read
    │   ├── NoBreastError             nothing in the image that could be a breast
    │   └── NotAMammogramError        the image is not a mammogram that the model accepts
    ├── DatasetError                  this folder cannot be used as a data set
    │   ├── DatasetNotFoundError
    │   ├── EmptyDatasetError
    │   ├── SingleClassError
    │   ├── MetadataError
    │   ├── LeakageError              a patient would be in two parts of a split
    │   └── DownloadError
    ├── RunError                      a training run that cannot be started or continued
    ├── ArtifactError                 a model folder that cannot be used
    │   ├── ArtifactNotFoundError
    │   ├── ArtifactMismatchError     model and card do not belong together
    │   └── CompilationError          a network that cannot be compiled for serving
    ├── FetchError                    a URL whose image cannot be fetched
    │   ├── UrlNotAllowedError
    │   ├── FetchTimeoutError
    │   ├── FetchTooLargeError
    │   └── FetchFailedError
    ├── RequestError                  an HTTP request that cannot be served
    │   ├── InvalidRequestError
    │   ├── UnsupportedMediaTypeError
    │   ├── RequestTooLargeError
    │   ├── UnknownModelError
    │   ├── UnauthorizedError
    │   ├── RateLimitedError
    │   ├── ServiceBusyError
    │   ├── UploadTimeoutError
    │   ├── DeadlineExceededError
    │   ├── ClientGoneError           the client has closed the connection
    │   └── NotReadyError
    ├── ArchiveError                  a study that cannot be taken from or stored in an archive
    │   ├── ArchiveUnreachableError   the archive does not answer
    │   ├── ArchiveRefusedError       the archive refuses, or stores nothing
    │   └── IncompleteStudyError      images of the study are not here any more
    ├── StateError                    the worker's state cannot be read or written
    └── ServerAnswerError             the client got no usable answer from a server
            └── ServerUnreachableError    no server answers at the address

Each class carries a stable ``code`` for programs; the message is for people and says what was
received and what is allowed. Messages never hold a patient's field, a path, a file name or the
text of a library's exception; ``path`` names the file for commands. Errors about a data set name
its folders, and the row and value of its table: only commands raise them, and their users have the
folder.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from pathlib import Path


class MammoscopeError(Exception):
    """An unexpected error, and the base of all others. Codes are stable across releases.

    Attributes
    ----------
    path
        The file or folder that the error is about, if known. The message does not contain it,
        because the service sends messages to its clients; commands print it.
    """

    code: ClassVar[str] = "internal_error"

    path: "Path | None" = None

    def at(self, path: "Path") -> Self:
        """Set the path, and return the error."""
        self.path = path
        return self


class ConfigurationError(MammoscopeError):
    """A setting, option or record that cannot be used."""

    code = "invalid_configuration"


class UsageError(ConfigurationError):
    """A command line that does not say what it wants, or an option with another value."""

    code = "wrong_usage"


class StorageError(MammoscopeError):
    """A result cannot be written: the disk is full, or permission is missing."""

    code = "storage_failed"


class ResultError(MammoscopeError):
    """The results of a study cannot be written as DICOM objects."""

    code = "result_refused"


class ImageError(MammoscopeError):
    """This image is refused.

    Attributes
    ----------
    known
        Facts read before the image was refused: ``patient`` and ``study`` (pseudonyms),
        ``laterality`` and ``view``, each None if unknown.
    """

    code = "image_refused"

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.known: Mapping[str, str | None] = {}


class EmptyImageError(ImageError):
    """Zero bytes."""

    code = "empty_image"


class UnsupportedImageError(ImageError):
    """An unsupported format, or an unsupported kind of image in a supported format."""

    code = "unsupported_image"


class CorruptImageError(ImageError):
    """The bytes start like a supported format but are invalid."""

    code = "corrupt_image"


class ImageTooLargeError(ImageError):
    """More bytes or pixels than the limits allow; checked before decoding."""

    code = "image_too_large"


class DecodingLimitError(ImageError):
    """Reading the image takes more time or memory than allowed for one image."""

    code = "decoding_limit"


class UnreadableFileError(ImageError):
    """The file cannot be read."""

    code = "unreadable_file"


class NoBreastError(ImageError):
    """Nothing in the image could be a breast."""

    code = "no_breast"


class NotAMammogramError(ImageError):
    """The image is not a mammogram, or not one that the model accepts."""

    code = "not_a_mammogram"


class DatasetError(MammoscopeError):
    """This folder cannot be used as a data set."""

    code = "dataset_refused"


class DatasetNotFoundError(DatasetError):
    """The folder is missing, is not a folder, or cannot be listed."""

    code = "dataset_not_found"


class EmptyDatasetError(DatasetError):
    """The folder has no images in the expected places."""

    code = "empty_dataset"


class SingleClassError(DatasetError):
    """Only one of two required classes is present."""

    code = "single_class"


class MetadataError(DatasetError):
    """The metadata table lacks a column or contradicts the files."""

    code = "metadata_refused"


class LeakageError(DatasetError):
    """A patient would be in two parts of a split."""

    code = "patient_leakage"


class DownloadError(DatasetError):
    """The published data set could not be downloaded."""

    code = "download_failed"


class RunError(MammoscopeError):
    """A training run that cannot be started or continued."""

    code = "run_refused"


class ArtifactError(MammoscopeError):
    """A model that cannot be used."""

    code = "artifact_refused"


class ArtifactNotFoundError(ArtifactError):
    """There is no model, or no card next to it."""

    code = "artifact_not_found"


class ArtifactMismatchError(ArtifactError):
    """Model and card do not belong together, or the model is damaged."""

    code = "artifact_mismatch"


class CompilationError(ArtifactError):
    """The network cannot be compiled for serving."""

    code = "compilation_failed"


class FetchError(MammoscopeError):
    """The image of a URL cannot be fetched."""

    code = "fetch_failed"


class UrlNotAllowedError(FetchError):
    """The URL's scheme, host, port or address is not allowed."""

    code = "url_not_allowed"


class FetchTimeoutError(FetchError):
    """The other server took too long."""

    code = "fetch_timeout"


class FetchTooLargeError(FetchError):
    """The other server sends more than allowed."""

    code = "fetch_too_large"


class FetchFailedError(FetchError):
    """The other server could not be reached or did not answer with an image."""

    code = "fetch_unsuccessful"


class RequestError(MammoscopeError):
    """The HTTP request cannot be served."""

    code = "request_refused"


class InvalidRequestError(RequestError):
    """The body does not say which image to predict."""

    code = "invalid_request"


class UnsupportedMediaTypeError(RequestError):
    """The route does not support this Content-Type."""

    code = "unsupported_media_type"


class RequestTooLargeError(RequestError):
    """The body exceeds the limit."""

    code = "request_too_large"


class UnknownModelError(RequestError):
    """The request names a model that is not served."""

    code = "unknown_model"


class UnauthorizedError(RequestError):
    """The API key is missing or invalid."""

    code = "unauthorized"


class RateLimitedError(RequestError):
    """An API key exceeds its rate limit.

    Parameters
    ----------
    message
        Message for people.
    retry_after_s
        Seconds until the key may be used again.
    """

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after_s: int = 60) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ServiceBusyError(RequestError):
    """The request queue is full."""

    code = "service_busy"


class UploadTimeoutError(RequestError):
    """The body did not arrive within the request's deadline."""

    code = "upload_timeout"


class DeadlineExceededError(RequestError):
    """The request waited in the queue beyond its deadline."""

    code = "deadline_exceeded"


class ClientGoneError(RequestError):
    """The client has closed the connection."""

    code = "client_gone"


class NotReadyError(RequestError):
    """The model is not loaded (yet)."""

    code = "not_ready"


class ArchiveError(MammoscopeError):
    """A study cannot be taken from an archive, or its results cannot be stored there."""

    code = "archive_failed"


class ArchiveUnreachableError(ArchiveError):
    """The archive does not answer, or answers that it cannot work now."""

    code = "archive_unreachable"


class ArchiveRefusedError(ArchiveError):
    """The archive refuses a request, or does not list what it was sent."""

    code = "archive_refused"


class IncompleteStudyError(ArchiveError):
    """Images that an earlier report was about are not here any more."""

    code = "incomplete_study"


class StateError(MammoscopeError):
    """The archive worker's state cannot be read or written."""

    code = "state_failed"


class ServerAnswerError(MammoscopeError):
    """The client got no usable answer from a server.

    Parameters
    ----------
    message
        Message for people; the server's own text if it sent one.
    status
        HTTP status of the answer; None if there was none.
    problem_code
        The ``code`` of the server's problem document; None if there was none.
    """

    code = "no_usable_answer"

    def __init__(
        self, message: str, *, status: int | None = None, problem_code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem_code = problem_code


class ServerUnreachableError(ServerAnswerError):
    """No server answers at the address."""

    code = "server_unreachable"
