"""Start the processes of one training, and end them together; needs neither Keras nor JAX."""

import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Final, NoReturn

from mammoscope.errors import MammoscopeError

EXIT_LOST: Final = 75
"""Exit status if a process of the training was lost, so that repeating it may help: EX_TEMPFAIL of
sysexits.h."""

_CONSEQUENCES: Final = (EXIT_LOST, -signal.SIGABRT)
"""Exit codes of processes that lost another one: they notice it, or JAX aborts them."""

LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Place:
    """A process among those of one training.

    Parameters
    ----------
    number
        0 to ``count - 1``. Process 0 coordinates, measures and writes the run.
    count
        Number of processes.
    coordinator
        HOST:PORT on which process 0 listens.
    """

    number: int
    count: int
    coordinator: str

    @property
    def leads(self) -> bool:
        """Whether this process writes the run."""
        return self.number == 0

    def share(self, images: int) -> slice:
        """Return this process's images of a batch."""
        each = images // self.count
        return slice(self.number * each, (self.number + 1) * each)


ALONE: Final = Place(0, 1, "")
"""The place of a process that trains alone."""

Work = Callable[[Place], None]


def on_this_machine(count: int) -> list[Place]:
    """Return the places of `count` processes that find each other on the loopback interface."""
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port = free.getsockname()[1]
    return [Place(number, count, f"{LOOPBACK}:{port}") for number in range(count)]


def run_together(places: Sequence[Place], work: Work) -> str | None:
    """Run `work` in a process for each place until all have ended; if one fails, end the others.

    Parameters
    ----------
    places
        The places on this machine. Its processors are divided among them.
    work
        What a process does; it is pickled.

    Returns
    -------
    str or None
        A sentence about the process that was lost; None if all have ended well.

    Raises
    ------
    MammoscopeError
        The error that a process raised.
    """
    # Processes that are killed leave semaphores, which Python removes, and would warn of.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
    spawn = multiprocessing.get_context("spawn")
    cpus = sorted(os.sched_getaffinity(0))
    processes: list[BaseProcess] = []
    errors: list[connection.Connection] = []
    try:
        for index, place in enumerate(places):
            receiving, sending = spawn.Pipe(duplex=False)
            mine = cpus[index :: len(places)] or cpus
            arguments = (place, work, mine, sending)
            process: BaseProcess = spawn.Process(
                target=_run, args=arguments, kwargs={"shows": index == 0}
            )
            process.start()
            sending.close()
            processes.append(process)
            errors.append(receiving)
        _wait(processes)
        codes = [process.exitcode for process in processes]
    finally:
        for process in processes:
            process.kill()  # JAX handles SIGTERM, and would go on
            process.join()
    for error in map(_received, errors):
        if error is not None:
            raise error
    failed = [(place, code) for place, code in zip(places, codes, strict=True) if code]
    return _lost(*min(failed, key=lambda each: each[1] in _CONSEQUENCES)) if failed else None


def _wait(processes: Sequence[BaseProcess]) -> None:
    """Wait until all have ended, or one has failed."""
    running = list(processes)
    while running and all(process.exitcode in (None, 0) for process in processes):
        connection.wait([process.sentinel for process in running])
        running = [process for process in running if process.exitcode is None]


def _received(errors: connection.Connection) -> MammoscopeError | None:
    try:
        error: MammoscopeError = errors.recv()
    except EOFError:
        return None
    return error


def _lost(place: Place, code: int) -> str:
    """Describe how a process ended."""
    if code in _CONSEQUENCES:
        return "A process on another machine has ended or does not answer; so this one was ended."
    how = (
        f"was killed by {signal.Signals(-code).name}" if code < 0 else f"failed with status {code}"
    )
    return f"Process {place.number} of {place.count} {how}; the others were ended."


def _run(
    place: Place, work: Work, cpus: Sequence[int], errors: connection.Connection, *, shows: bool
) -> None:
    """Run `work`, as the target of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that waits ends all of them
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.sched_setaffinity(0, cpus)
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # JAX has the same libraries
    if not shows and sys.stderr.isatty():  # one process shows its progress
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    try:
        with _noticing_loss():
            work(place)
    except MammoscopeError as err:
        errors.send(err)
        sys.exit(1)


@contextmanager
def _noticing_loss() -> Iterator[None]:
    """Exit at once if JAX can no longer reach the other processes."""
    try:
        yield
    except RuntimeError as err:
        import jax

        if not isinstance(err, jax.errors.JaxRuntimeError):
            raise
        os._exit(EXIT_LOST)  # an orderly exit would wait for the other processes


def _end_with_parent() -> NoReturn:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
    os._exit(EXIT_LOST)
