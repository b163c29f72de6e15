"""Every error Mammoscope raises on purpose.

::

    MammoscopeError
    ├── ConfigurationError            a setting, option or record that cannot be used
    │   └── UsageError                a command line that does not say what it wants
    ├── StorageError                  a disk that is full or a folder that cannot be written
    ├── ImageError                    this image is refused
    │   ├── EmptyImageError
    │   ├── UnsupportedImageError     a format or kind of image that is not read
    │   ├── CorruptImageError
    │   ├── ImageTooLargeError
    │   ├── DecodingLimitError        reading it takes more time or memory than allowed
    │   ├── UnreadableFileError       the file system refuses the file
    │   ├── NoBreastError             nothing in the image that could be a breast
    │   └── NotAMammogramError        the image is not a mammogram that the model accepts
    ├── DatasetError                  this folder cannot be used as a data set
    │   ├── DatasetNotFoundError
    │   ├── EmptyDatasetError
    │   ├── SingleClassError
    │   ├── MetadataError
    │   ├── LeakageError              a patient would stand on two sides of a split
    │   └── DownloadError
    ├── RunError                      a training run that cannot be started or continued
    ├── ArtifactError                 a model folder that cannot be used
    │   ├── ArtifactNotFoundError
    │   ├── ArtifactMismatchError     model and card do not belong together
    │   └── CompilationError          a network that cannot be compiled for serving
    ├── FetchError                    a URL whose image cannot be had
    │   ├── UrlNotAllowedError
    │   ├── FetchTimeoutError
    │   ├── FetchTooLargeError
    │   └── FetchFailedError
    ├── RequestError                  an HTTP request that does not say what it wants
    │   ├── InvalidRequestError
    │   ├── UnsupportedMediaTypeError
    │   ├── RequestTooLargeError
    │   ├── UnknownModelError
    │   ├── UnauthorizedError
    │   ├── RateLimitedError
    │   ├── ServiceBusyError
    │   ├── UploadTimeoutError
    │   ├── DeadlineExceededError
    │   ├── ClientGoneError           nobody is there to hear the answer
    │   └── NotReadyError
    └── ServerAnswerError             the client got no usable answer from a server
        └── ServerUnreachableError    nobody answers at the server's address

Each class carries a stable ``code`` for programs; the message is for people and says what was
received and what is allowed. Messages never hold a patient's field, a path, a file name or the
text of a library's exception: whoever catches the error knows which file it was handling. Errors
about a data set name its folders, and the row and value of its table: only commands raise them, for
whoever has the folder.
"""

from collections.abc import Mapping
from typing import ClassVar


class MammoscopeError(Exception):
    """Root of the tree; ``code`` is stable across releases."""

    code: ClassVar[str] = "internal_error"


class ConfigurationError(MammoscopeError):
    """A setting, option or record that cannot be used."""

    code = "invalid_configuration"


class UsageError(ConfigurationError):
    """A command line that does not say what it wants, or an option with another value."""

    code = "wrong_usage"


class StorageError(MammoscopeError):
    """A result could not be written: full disk, missing permission."""

    code = "storage_failed"


class ImageError(MammoscopeError):
    """This image is refused.

    Attributes
    ----------
    known
        What was read of the image before it was refused: ``patient`` and ``study``
        (pseudonyms), ``laterality`` and ``view``, each None where it is not known.
    """

    code = "image_refused"

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.known: Mapping[str, str | None] = {}


class EmptyImageError(ImageError):
    """Zero bytes."""

    code = "empty_image"


class UnsupportedImageError(ImageError):
    """A format, or a kind of image within a format, that is not read."""

    code = "unsupported_image"


class CorruptImageError(ImageError):
    """Bytes that announce a known format and do not keep to it."""

    code = "corrupt_image"


class ImageTooLargeError(ImageError):
    """More bytes or pixels than the limits allow; found before decoding."""

    code = "image_too_large"


class DecodingLimitError(ImageError):
    """Reading the image takes more time or memory than one image may take."""

    code = "decoding_limit"


class UnreadableFileError(ImageError):
    """The file system refuses to hand out the bytes."""

    code = "unreadable_file"


class NoBreastError(ImageError):
    """Nothing in the image that could be a breast."""

    code = "no_breast"


class NotAMammogramError(ImageError):
    """An image that is not a mammogram, or not one that the model accepts."""

    code = "not_a_mammogram"


class DatasetError(MammoscopeError):
    """This folder cannot be used as a data set."""

    code = "dataset_refused"


class DatasetNotFoundError(DatasetError):
    """The folder is missing, is no folder, or cannot be listed."""

    code = "dataset_not_found"


class EmptyDatasetError(DatasetError):
    """The folder has no image where images are expected."""

    code = "empty_dataset"


class SingleClassError(DatasetError):
    """Only one of the two classes is present where both are needed."""

    code = "single_class"


class MetadataError(DatasetError):
    """The table of metadata lacks a column or contradicts the files."""

    code = "metadata_refused"


class LeakageError(DatasetError):
    """A patient would stand on two sides of a split."""

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
    """No model, or no card beside it."""

    code = "artifact_not_found"


class ArtifactMismatchError(ArtifactError):
    """Model and card do not belong together, or the model is damaged."""

    code = "artifact_mismatch"


class CompilationError(ArtifactError):
    """The network cannot be compiled for serving."""

    code = "compilation_failed"


class FetchError(MammoscopeError):
    """A URL whose image cannot be had."""

    code = "fetch_failed"


class UrlNotAllowedError(FetchError):
    """The URL's scheme, host, port or address is not one that may be fetched."""

    code = "url_not_allowed"


class FetchTimeoutError(FetchError):
    """The other server took too long."""

    code = "fetch_timeout"


class FetchTooLargeError(FetchError):
    """The other server sends more than is allowed."""

    code = "fetch_too_large"


class FetchFailedError(FetchError):
    """The other server could not be reached or did not answer with an image."""

    code = "fetch_unsuccessful"


class RequestError(MammoscopeError):
    """An HTTP request that cannot be served as it is."""

    code = "request_refused"


class InvalidRequestError(RequestError):
    """The body does not say which image is meant."""

    code = "invalid_request"


class UnsupportedMediaTypeError(RequestError):
    """A Content-Type the route does not take."""

    code = "unsupported_media_type"


class RequestTooLargeError(RequestError):
    """A body over the limit."""

    code = "request_too_large"


class UnknownModelError(RequestError):
    """A model asked for by a name that it does not have."""

    code = "unknown_model"


class UnauthorizedError(RequestError):
    """No API key, or none that is valid."""

    code = "unauthorized"


class RateLimitedError(RequestError):
    """An API key was used more often than it may be.

    Parameters
    ----------
    message
        For people.
    retry_after_s
        Seconds after which it may be used again.
    """

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after_s: int = 60) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ServiceBusyError(RequestError):
    """More requests are waiting than may wait."""

    code = "service_busy"


class UploadTimeoutError(RequestError):
    """A body that does not arrive in the time a request has."""

    code = "upload_timeout"


class DeadlineExceededError(RequestError):
    """The request waited for its turn as long as it may."""

    code = "deadline_exceeded"


class ClientGoneError(RequestError):
    """Whoever asked has closed the connection."""

    code = "client_gone"


class NotReadyError(RequestError):
    """The model is not loaded (yet)."""

    code = "not_ready"


class ServerAnswerError(MammoscopeError):
    """The client got no usable answer from a server.

    Parameters
    ----------
    message
        For people; the server's own words where it explained itself.
    status
        HTTP status of the answer, None where there was none.
    problem_code
        The ``code`` of the server's problem document, None where there was none.
    """

    code = "no_usable_answer"

    def __init__(
        self, message: str, *, status: int | None = None, problem_code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem_code = problem_code


class ServerUnreachableError(ServerAnswerError):
    """Nobody answers at the server's address."""

    code = "server_unreachable"
