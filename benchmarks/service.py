"""``make bench-service``: compare the service with the reference design and other servers."""

import http.client
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import report
from benchmarks.comparison import CLIENTS, Seen, summary
from benchmarks.contenders import ALL, OURS, Contender, Network, image_server
from benchmarks.environments import (
    EnvironmentFailedError,
    installed_bytes,
    serving_python,
    versions,
)
from benchmarks.load import Request, WrongAnswerError, ask, closed_loop
from benchmarks.material import images, network
from benchmarks.processes import Server, ServerDiedError
from benchmarks.starting import run_worker
from mammoscope.model.artifact.folder import load_artifact

_WARM_UP_S: Final = 0.5
_START_TIMEOUT_S: Final = 300.0
_POLL_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class _Setting:
    """Settings of the measurements, the same for all servers."""

    network: Network
    bodies: Sequence[bytes]
    urls: Sequence[str]
    work: Path
    seconds: float


def run(model: Path, *, seconds: float, rounds: int, only: str = "") -> dict[str, Any]:
    """Start every server once to check its answers, then measure all servers round by round.

    The first start also fills the page cache; it is not timed.

    Parameters
    ----------
    model
        The model folder.
    seconds
        Length of each measurement.
    rounds
        Number of rounds; each starts every server anew. With 0, servers are only checked.
    only
        Part of the names of the servers to compare with ours.
    """
    facts = report.machine()
    encoded = images()
    contenders = [c for c in ALL if c is OURS or only.lower() in c.name.lower()]
    seen = {contender.name: Seen() for contender in contenders}
    one_process: list[float] = []
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mammoscope-")))
        served = network(_compiled(model, work / "model"))
        setting = _Setting(served, encoded, _publish(encoded, work, stack), work, seconds)
        for number in range(rounds + 1):
            if number:
                one_process.append(_one_process(setting))
            for contender in contenders:
                if seen[contender.name].failure is None:
                    _say(f"round {number} of {rounds}: {contender.name}")
                    _try(contender, setting, seen[contender.name], measure=number > 0)
    return {
        "benchmark": "service",
        "machine": facts,
        "input_size": [served.height, served.width],
        "images": len(encoded),
        "image_bytes": {"least": min(map(len, encoded)), "largest": max(map(len, encoded))},
        "seconds": seconds,
        "rounds": rounds,
        "network_served": load_artifact(model).precision,
        **summary(
            seen,
            one_process,
            {c.name: _environment(c, seen[c.name]) for c in contenders},
            processors=facts["processors"],
        ),
    }


def _compiled(model: Path, folder: Path) -> Path:
    """Compile a model into a folder, as the image has it: its environment has no Keras."""
    command = [sys.executable, "-m", "mammoscope", "compile"]
    subprocess.run([*command, "--model", model, "--output", folder], check=True)
    return folder


def _publish(encoded: Sequence[bytes], work: Path, stack: ExitStack) -> list[str]:
    """Serve the images over HTTP for contenders that take a URL, and return the URLs."""
    folder = work / "images"
    folder.mkdir()
    port = _free_port()
    for index, data in enumerate(encoded):
        (folder / f"{index}.jpg").write_bytes(data)
    server = stack.enter_context(image_server(folder, port, work / "images.log"))
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        server.require_running()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(_POLL_S)
    return [f"http://127.0.0.1:{port}/{index}.jpg" for index in range(len(encoded))]


def _try(contender: Contender, setting: _Setting, seen: Seen, *, measure: bool) -> None:
    """Check or measure a server; a failure is recorded and ends its measurements."""
    port = _free_port()
    log = setting.work / f"{port}.log"
    requests = [
        contender.request(body, url) for body, url in zip(setting.bodies, setting.urls, strict=True)
    ]
    try:
        server = contender.server(setting.network, port, log)
        with server:
            started = first_answer(server, port, requests[0])
            if measure:
                seen.start_s.append(started)
                _measure(server, port, requests, setting, seen)
            else:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                seen.probabilities = [ask(connection, request) for request in requests]
                connection.close()
    except (EnvironmentFailedError, ServerDiedError) as err:
        seen.failure = str(err)
    except (WrongAnswerError, OSError, http.client.HTTPException) as err:
        seen.failure = f"{type(err).__name__}: {err}; its last words: {server.last_words()}"
    if seen.failure:
        _say(f"{contender.name} failed: {seen.failure}")


def _measure(
    server: Server, port: int, requests: Sequence[Request], setting: _Setting, seen: Seen
) -> None:
    largest = 0
    for clients in CLIENTS:
        computed = server.processor_s()
        result = closed_loop(
            port, requests, clients=clients, seconds=setting.seconds, warm_up_s=_WARM_UP_S
        )
        seen.per_s.setdefault(clients, []).append(result.answers_per_s)
        seen.latencies_s.setdefault(clients, []).extend(result.latencies_s)
        seen.client_cpu_s.append(result.client_cpu_s_per_answer)
        share = (server.processor_s() - computed) / max(result.answers, 1)
        seen.server_cpu_s.setdefault(clients, []).append(share)
        seen.errors += result.errors
        largest = max(largest, server.memory_bytes())
    seen.memory_bytes.append(largest)


def first_answer(server: Server, port: int, request: Request) -> float:
    """Seconds from the start of a server's process to its first correct answer.

    Raises
    ------
    ServerDiedError
        If it exits, or does not answer within `_START_TIMEOUT_S`.
    """
    problem: Exception | None = None
    while time.monotonic() < server.started + _START_TIMEOUT_S:
        server.require_running()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_TIMEOUT_S)
        try:
            ask(connection, request)
        except (OSError, http.client.HTTPException, WrongAnswerError) as err:
            problem = err
            time.sleep(_POLL_S)
        else:
            return time.monotonic() - server.started
        finally:
            connection.close()
    raise ServerDiedError(
        f"no answer in {_START_TIMEOUT_S:.0f} s: {problem}; its last words: {server.last_words()}"
    )


def _one_process(setting: _Setting) -> float:
    answer = run_worker(
        serving_python(),
        "one_process",
        "--network", str(setting.network.artifact),
        "--images", str(setting.work / "images"),
        "--seconds", str(setting.seconds),
    )  # fmt: skip
    return float(answer["per_s"])


def _environment(contender: Contender, seen: Seen) -> dict[str, Any]:
    try:
        python = contender.python()
    except EnvironmentFailedError as err:
        seen.failure = str(err)
        return {}
    return {"installed_bytes": installed_bytes(python), "versions": versions(python)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
