"""The Python client of the service."""

import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import requests

from mammoscope.errors import ServerAnswerError, ServerUnreachableError, UnreadableFileError

if TYPE_CHECKING:
    from mammoscope.studies import Placement

DEFAULT_SERVER: Final = "http://127.0.0.1:9696"

_POLL_S: Final = 0.2


class Client:
    """A client of one server.

    It ignores proxies, ``.netrc`` and other request settings of the environment, because the server
    is usually on this machine or in its network.

    Parameters
    ----------
    server
        Address of the server: ``http://host:port``, with a path if a proxy adds one.
    timeout_s
        Timeout in seconds for a connection, and for each part of an answer.
    api_key
        For servers that require one.
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        timeout_s: float = 60.0,
        api_key: str | None = None,
    ) -> None:
        self._server = server.rstrip("/")
        self._timeout_s = timeout_s
        self._session = requests.Session()
        self._session.trust_env = False
        if api_key is not None:
            self._session.headers["Authorization"] = f"Bearer {api_key}"

    def __enter__(self) -> Self:
        """Return the client; leaving the context closes its connections."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self._session.close()

    def predict(self, source: str | Path, *, age: float | None = None) -> dict[str, Any]:
        """Return the prediction for one image: `mammoscope.model.prediction.Prediction` as JSON.

        Parameters
        ----------
        source
            A URL for the server to fetch (str), or a file to send (Path). The file name is not
            sent.
        age
            The woman's age in years, for the calibration.

        Raises
        ------
        UnreadableFileError
            If the file is missing or cannot be read.
        ServerUnreachableError
            If no server answers at the address.
        ServerAnswerError
            If the server refuses the image, or its answer is not a prediction.
        """
        given = {} if age is None else {"age": age}
        if isinstance(source, str):
            return self._request("POST", "/predict", json={"url": source, **given})
        try:
            data = source.read_bytes()
        except IsADirectoryError as err:
            raise UnreadableFileError("This is a folder without images, not a file.") from err
        except OSError as err:
            raise UnreadableFileError("The file is missing or cannot be read.") from err
        return self._request("POST", "/predict", files={"file": ("image", data)}, data=given)

    def study(self, images: "Sequence[tuple[Path, Placement]]") -> dict[str, Any]:
        """Return the result for a study: `mammoscope.studies.StudyResult` as JSON.

        Parameters
        ----------
        images
            Files to send with their placements, as `mammoscope.studies.find_study` lists them. File
            names are not sent; ``file`` of each of the answer's ``images`` is the path given here.

        Raises
        ------
        UnreadableFileError
            If there are no files, or one is missing or cannot be read; nothing is sent then.
        ServerUnreachableError
            If no server answers at the address.
        ServerAnswerError
            If the server refuses the whole study, or its answer does not match the study.
        """
        if not images:
            raise UnreadableFileError("There are no images to send.")
        files, fields = [], []
        for number, (path, placement) in enumerate(images, start=1):
            try:
                data = path.read_bytes()
            except OSError as err:
                raise UnreadableFileError(
                    f"File {number} of {len(images)} is missing or cannot be read."
                ) from err
            files.append(("file", (str(number), data)))
            fields += [
                ("patient", placement.patient or ""),
                ("laterality", placement.laterality or ""),
                ("view", placement.view or ""),
            ]
        answer = self._request("POST", "/studies", files=files, data=fields)
        answered = answer.get("images")
        if not isinstance(answered, list) or len(answered) != len(images):
            raise ServerAnswerError("The server's answer does not cover every image.")
        return {
            **answer,
            "images": [
                {**image, "file": str(path)}
                for image, (path, _) in zip(answered, images, strict=True)
            ],
        }

    def model(self) -> dict[str, Any]:
        """Return the public part of the model's card."""
        return self._request("GET", "/model")

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until the server answers requests.

        Raises
        ------
        ServerUnreachableError
            If no server answers within `timeout_s` seconds.
        ServerAnswerError
            If the server's model cannot be used, or is not ready in time.
        """
        end = time.monotonic() + timeout_s
        while True:
            try:
                self._request("GET", "/readyz")
            except ServerAnswerError as err:
                still_coming = isinstance(err, ServerUnreachableError) or (
                    err.problem_code == "not_ready"
                )
                if not still_coming or time.monotonic() + _POLL_S > end:
                    raise
                time.sleep(_POLL_S)
            else:
                return

    def _request(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        try:
            response = self._session.request(
                method, f"{self._server}{path}", timeout=self._timeout_s, **content
            )
        except requests.Timeout as err:
            raise ServerUnreachableError(
                f"The server did not answer within {self._timeout_s:g} s."
            ) from err
        except (
            requests.ConnectionError,
            ValueError,
        ) as err:  # requests raises either for a bad URL
            raise ServerUnreachableError("No server can be reached at this address.") from err
        except requests.RequestException as err:
            raise ServerAnswerError("The server's answer is truncated or cannot be read.") from err
        return _answer(response)


def _answer(response: requests.Response) -> dict[str, Any]:
    status = response.status_code
    try:
        content = response.json()
    except requests.JSONDecodeError as err:
        raise ServerAnswerError(
            f"The server answered with status {status} but no JSON.", status=status
        ) from err
    if not isinstance(content, dict):
        raise ServerAnswerError("The server's JSON is not an object.", status=status)
    if status != HTTPStatus.OK:
        detail = content.get("detail") or f"The server answered with status {status}."
        code = content.get("code")
        raise ServerAnswerError(
            str(detail), status=status, problem_code=code if isinstance(code, str) else None
        )
    return content
