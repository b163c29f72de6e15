"""A closed loop over HTTP: each client sends its next request after its last answer.

Clients are threads that wait in the kernel, with prebuilt bodies and persistent connections. The
loop's own processor time is measured and reported with the result, because it shares the machine
with the server.
"""

import http.client
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from benchmarks.measurement import rate

_TIMEOUT_S = 180.0
_MAX_ERRORS = 50
"""Maximum number of errors of a loop; stops loops on a server that only fails."""


@dataclass(frozen=True, slots=True)
class Request:
    """A POST request, and the function that extracts the probability from its answer."""

    path: str
    body: bytes
    content_type: str
    probability: Callable[[bytes], float]


class WrongAnswerError(Exception):
    """The answer is not 200 with a probability in [0, 1]."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Result of a closed loop.

    Parameters
    ----------
    answers
        Total number of correct answers, including the warm-up.
    answers_per_s
        Correct answers per second within the window.
    latencies_s
        Latency of each correct answer within the window, from sending to the end of reading.
    errors
        Messages of all errors, at any time.
    client_cpu_s_per_answer
        Processor time of this process per correct answer.
    """

    answers: int
    answers_per_s: float
    latencies_s: list[float]
    errors: list[str]
    client_cpu_s_per_answer: float


@dataclass(slots=True)
class _Log:
    """Answers of all clients; appending to a list is atomic."""

    answers: list[tuple[float, float]] = field(default_factory=list)
    """Time of the answer and latency, both in seconds."""

    errors: list[str] = field(default_factory=list)


def ask(connection: http.client.HTTPConnection, request: Request) -> float:
    """Send a request over a new or existing connection, and return the probability.

    Raises
    ------
    WrongAnswerError
        If the answer is not 200 with a probability in [0, 1].
    OSError, http.client.HTTPException
        If the answer is incomplete.
    """
    headers = {"Content-Type": request.content_type, "Connection": "keep-alive"}
    reused = connection.sock is not None
    try:
        connection.request("POST", request.path, request.body, headers)
        response = connection.getresponse()
    except (ConnectionError, http.client.BadStatusLine):
        connection.close()
        # Servers close idle connections; a failure of the first reuse is therefore no error.
        if not reused:
            raise
        connection.request("POST", request.path, request.body, headers)
        response = connection.getresponse()
    body = response.read()
    if response.status != http.client.OK:
        raise WrongAnswerError(f"status {response.status}: {body[:200]!r}")
    try:
        probability = request.probability(body)
    except (ValueError, LookupError, TypeError) as err:
        raise WrongAnswerError(f"no probability in {body[:200]!r}") from err
    if not 0.0 <= probability <= 1.0:
        raise WrongAnswerError(f"a probability of {probability}")
    return probability


def closed_loop(
    port: int, requests: Sequence[Request], *, clients: int, seconds: float, warm_up_s: float
) -> LoadResult:
    """Put a server on this machine under load, and measure it.

    The window starts after `warm_up_s`, once each client has had an answer. It ends after
    `seconds`, or later once there are as many answers as clients, so that a slow server is not
    evaluated by its first answers alone.

    Parameters
    ----------
    port
        Port on 127.0.0.1.
    requests
        Requests to send in turn.
    clients
        Number of requests in flight.
    seconds, warm_up_s
        Length of the window and of the warm-up before it.
    """
    log, stop, numbers = _Log(), threading.Event(), count()
    first_answers = [threading.Event() for _ in range(clients)]

    def client(first: threading.Event) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
        while not stop.is_set() and len(log.errors) < _MAX_ERRORS:
            sent = time.monotonic()
            try:
                ask(connection, requests[next(numbers) % len(requests)])
            except (OSError, http.client.HTTPException, WrongAnswerError) as err:
                log.errors.append(f"{type(err).__name__}: {err}")
                connection.close()
                time.sleep(0.05)  # limits the rate of errors
            else:
                now = time.monotonic()
                log.answers.append((now, now - sent))
            first.set()
        connection.close()

    threads = [threading.Thread(target=client, args=(event,)) for event in first_answers]
    for thread in threads:
        thread.start()
    time.sleep(warm_up_s)
    for event in first_answers:
        event.wait(_TIMEOUT_S)
    cpu, begin, before = time.process_time(), time.monotonic(), len(log.answers)
    while time.monotonic() < begin + seconds or len(log.answers) < before + clients:
        time.sleep(0.02)
        if len(log.errors) >= _MAX_ERRORS or time.monotonic() > begin + seconds + _TIMEOUT_S:
            break
    end = time.monotonic()
    cpu = time.process_time() - cpu
    stop.set()
    for thread in threads:
        thread.join()
    inside = [latency for finished, latency in log.answers if begin < finished <= end]
    return LoadResult(
        answers=len(log.answers),
        answers_per_s=rate([finished for finished, _ in log.answers], begin, end),
        latencies_s=inside,
        errors=log.errors,
        client_cpu_s_per_answer=cpu / max(len(inside), 1),
    )
