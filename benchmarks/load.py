"""A closed loop over HTTP: each client sends its next request when it has its last answer.

Clients are threads that wait in the kernel, with bodies built beforehand and connections kept
alive. What the loop itself computes is measured and reported with its result, because it shares
the machine with the server.
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
"""Of one loop; a server that only fails is not asked for ever."""


@dataclass(frozen=True, slots=True)
class Request:
    """A POST, ready to be sent, and what reads the probability out of its answer."""

    path: str
    body: bytes
    content_type: str
    probability: Callable[[bytes], float]


class WrongAnswerError(Exception):
    """An answer that is not 200 with a probability in [0, 1]."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a closed loop saw.

    Parameters
    ----------
    answers
        Right answers in all, those of the warm-up included.
    answers_per_s
        Right answers a second within the window.
    latencies_s
        Of each right answer within the window, from sending to having read all of it.
    errors
        Messages of whatever went wrong, at any time.
    client_cpu_s_per_answer
        Processor time of this process, one right answer's share.
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
    """Send a request over a connection, kept or new, and return the probability.

    Raises
    ------
    WrongAnswerError
        If the answer is not 200 with a probability in [0, 1].
    OSError, http.client.HTTPException
        If there is no whole answer.
    """
    headers = {"Content-Type": request.content_type, "Connection": "keep-alive"}
    reused = connection.sock is not None
    try:
        connection.request("POST", request.path, request.body, headers)
        response = connection.getresponse()
    except (ConnectionError, http.client.BadStatusLine):
        connection.close()
        # Servers close idle connections; the first use then fails, and says nothing of them.
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
    """Load a server on this machine and measure it.

    The window begins when `warm_up_s` are over and each client has had an answer. It ends after
    `seconds`, or, where that is later, when there were as many answers as clients, so that a slow
    server is not judged by its first answers alone.

    Parameters
    ----------
    port
        Of 127.0.0.1.
    requests
        Sent in turn.
    clients
        Requests in flight at a time.
    seconds, warm_up_s
        Length of the window and of what comes before it.
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
                time.sleep(0.05)  # an error must not turn into a flood
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
