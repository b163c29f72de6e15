"""The service's side of the pool: take a process, send it an image, receive its answer."""

import fcntl
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np

from mammoscope.errors import DecodingLimitError, StorageError
from mammoscope.imaging.display_image import DisplayImage, DisplayOptions
from mammoscope.imaging.network_input import NetworkInput, ReadingOptions
from mammoscope.imaging.pool.transport import (
    FORK,
    KILL,
    LENGTH,
    BrokenAnswerError,
    Bytes,
    Outcome,
    ReadingRequest,
    answer_bytes,
    decode_answer,
    encode_request,
)
from mammoscope.system.allocator import share_memory
from mammoscope.system.cpus import ONE_THREAD
from mammoscope.system.fair_pool import FairPool

_POLL_S: Final = 0.05
"""Interval in seconds at which a waiting request checks whether it is still wanted."""

_LIMIT_MESSAGE: Final = (
    "Reading this image takes more time or memory than the limits allow. Save it again in a "
    "simple format, such as 8-bit or 16-bit PNG or uncompressed DICOM."
)

CONTENDED_CPU_SHARE: Final = 0.25
CONTENDED_WALL_SHARE: Final = 0.5
"""Shares of the limits that an image may take while others wait for its process. Images of
mammography detectors take less; this limits the delay by images designed to be slow."""

_PIPE_BYTES: Final = 1 << 20
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_FIRST_OTHER: Final = 3
"""Descriptor after those of standard input, output and errors."""

_F_SETPIPE_SZ: Final = 1031
"""fcntl(2), Linux: large enough for an answer, so that the process can continue at once."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Limits for reading one image.

    Parameters
    ----------
    memory_bytes
        Address space beyond what a process holds after its start, in bytes.
    cpu_s
        Processor time in seconds; only `CONTENDED_CPU_SHARE` of it while other images wait.
    wall_s
        Elapsed time in seconds; only `CONTENDED_WALL_SHARE` of it while other images wait.
    """

    memory_bytes: int = 1 << 30
    cpu_s: int = 10
    wall_s: float = 20.0


class ReadingPool:
    """Processes that read images; thread-safe.

    Parameters
    ----------
    processes
        Number of images read at a time, at least 1.
    limits
        Limits for reading one image.
    fork
        Whether the processes are forks of this one, which then share the memory of what it has
        imported. Only for a process in whose environment `mammoscope.system.cpus.ONE_THREAD` was
        set before NumPy was imported, and in which no library has started threads.
    """

    def __init__(
        self, processes: int, limits: PoolLimits | None = None, *, fork: bool = False
    ) -> None:
        self.limits: Final = limits or PoolLimits()
        self.processes: Final = processes
        # None represents a process that is forked when first needed.
        self._pool: FairPool[_Process | None] = FairPool([None] * processes)
        self._forkserver = _Forkserver(self.limits.memory_bytes, fork=fork)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(
        self, data: bytes, options: ReadingOptions, check: Callable[[], None] = lambda: None, /
    ) -> NetworkInput:
        """Read one image in a process of the pool.

        Parameters
        ----------
        data
            An encoded image.
        options
            How to read it.
        check
            Called repeatedly while the image waits and is read; an exception from it ends the
            reading.

        Raises
        ------
        DecodingLimitError
            If reading exceeds the pool's limits on memory or time.
        ImageError
            If the image is refused.
        """
        answer = self._answer(data, options, check)
        if not isinstance(answer, NetworkInput):
            raise TypeError("the answer is no network input")
        return answer

    def read_display(
        self, data: bytes, options: DisplayOptions, check: Callable[[], None] = lambda: None, /
    ) -> DisplayImage:
        """Read one image to show it; parameters and errors are those of `read`."""
        answer = self._answer(data, options, check)
        if not isinstance(answer, DisplayImage):
            raise TypeError("the answer is no display image")
        return answer

    def _answer(
        self, data: bytes, options: ReadingOptions | DisplayOptions, check: Callable[[], None]
    ) -> Outcome:
        request = ReadingRequest(len(data), options, self.limits.cpu_s)
        with self._process(check) as process:
            began = time.monotonic()
            most_cpu_s = process.processor_s() + CONTENDED_CPU_SHARE * self.limits.cpu_s
            most_wall_s = CONTENDED_WALL_SHARE * self.limits.wall_s

            def check_limits() -> None:
                check()
                if self._pool.contended and (
                    process.processor_s() > most_cpu_s or time.monotonic() - began > most_wall_s
                ):
                    raise DecodingLimitError(_LIMIT_MESSAGE)

            return process.read(data, request, began + self.limits.wall_s, check_limits)

    def close(self) -> None:
        """End all processes; images being read are refused."""
        self._forkserver.close()
        for process in self._pool.drain():
            if process is not None:
                process.close()

    @contextmanager
    def _process(self, check: Callable[[], None]) -> "Iterator[_Process]":
        """Take a process, first come, first served, and give it back afterwards."""
        process = self._pool.take(check)
        try:
            if process is None:
                process = self._forkserver.fork()
            yield process
        finally:
            if process is not None and not process.usable:
                process.close()
                process = None
            self._pool.give_back(process)


class _Process:
    """A reading process.

    Parameters
    ----------
    number
        Its process id.
    requests, answers, shared
        Descriptors of the pipe to it, the pipe from it, and the file with the encoded image.
    kill
        Ends the process with a given process id.
    """

    def __init__(
        self, number: int, requests: int, answers: int, shared: int, kill: Callable[[int], None]
    ) -> None:
        self.usable = True
        self._number = number
        self._requests = requests
        self._answers = answers
        self._shared = shared
        self._kill = kill

    def read(
        self, data: bytes, request: ReadingRequest, deadline: float, check: Callable[[], None]
    ) -> Outcome:
        """Have one image read; any interruption makes the process unusable."""
        self.usable = False
        try:
            _write_file(self._shared, data)
            os.write(self._requests, encode_request(request))
            header = self._receive(LENGTH.size, deadline, check)
            text_bytes, pixel_bytes = answer_bytes(header.tobytes(), request)
            text = self._receive(text_bytes, deadline, check)
            pixels = self._receive(pixel_bytes, deadline, check)
        except (BrokenAnswerError, BrokenPipeError) as err:
            raise DecodingLimitError(_LIMIT_MESSAGE) from err
        self.usable = True
        try:
            return decode_answer(text.tobytes(), pixels, request)
        except BrokenAnswerError as err:
            self.usable = False
            raise DecodingLimitError(_LIMIT_MESSAGE) from err

    def processor_s(self) -> float:
        """Return the processor time that the process has taken, in seconds; 0 if it is gone."""
        try:
            stat = Path(f"/proc/{self._number}/stat").read_text(encoding="ascii")
        except OSError:
            return 0.0
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / _TICKS_PER_S

    def close(self) -> None:
        """End the process."""
        self.usable = False
        self._kill(self._number)
        for descriptor in (self._requests, self._answers, self._shared):
            os.close(descriptor)

    def _receive(self, count: int, deadline: float, check: Callable[[], None]) -> Bytes:
        received = np.empty(count, np.uint8)
        view = received.data
        while view:
            ready, _, _ = select.select([self._answers], [], [], _POLL_S)
            if not ready:
                check()
                if time.monotonic() > deadline:
                    raise BrokenAnswerError
                continue
            got = os.readv(self._answers, [view])
            if got == 0:  # it was killed, or exited because memory ran out
                raise BrokenAnswerError
            view = view[got:]
        return received


class _Forkserver:
    """The process from which reading processes are forked; restarted if it has died."""

    def __init__(self, memory_bytes: int, *, fork: bool) -> None:
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._start(_fork if fork else _spawn)

    def fork(self) -> _Process:
        """Return a new reading process.

        Raises
        ------
        StorageError
            If the operating system refuses to start one.
        """
        theirs_requests, requests = os.pipe()
        answers, theirs_answers = os.pipe()
        shared = _unnamed_file()
        try:
            number = self._ask([theirs_requests, theirs_answers, shared])
        except OSError as err:
            for descriptor in (requests, answers, shared):
                os.close(descriptor)
            raise StorageError("No process for reading images can be started.") from err
        finally:
            os.close(theirs_requests)
            os.close(theirs_answers)
        with suppress(OSError):
            fcntl.fcntl(answers, _F_SETPIPE_SZ, _PIPE_BYTES)
        return _Process(number, requests, answers, shared, self._end)

    def close(self) -> None:
        """End the process and all its forks."""
        self._control.close()
        self._process.wait()

    def _start(self, start: "_Start") -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = start(theirs.fileno(), self._memory_bytes)

    def _ask(self, descriptors: list[int]) -> int:
        with self._lock:
            try:
                return self._fork(descriptors)
            except OSError:
                self._control.close()
                self._process.kill()
                self._process.wait()
                self._start(_spawn)  # by now, this process may have threads
                return self._fork(descriptors)

    def _fork(self, descriptors: list[int]) -> int:
        socket.send_fds(self._control, [FORK], descriptors)
        answer = self._control.recv(32)
        if not answer:
            raise ConnectionResetError
        return int(answer)

    def _end(self, number: int) -> None:
        with self._lock, suppress(OSError):  # if the forkserver is gone, so are its forks
            self._control.send(KILL + str(number).encode())


def _spawn(control: int, memory_bytes: int) -> subprocess.Popen[bytes]:
    """Start a forkserver as a new program."""
    program = [sys.executable, "-m", "mammoscope.imaging.pool.forkserver"]
    return subprocess.Popen(  # noqa: S603 this very interpreter
        [*program, str(control), str(memory_bytes)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[control],
        env={**os.environ, **ONE_THREAD},
        start_new_session=True,
    )


class _ForkedProcess:
    """A fork of this process, with the methods of `subprocess.Popen` that are used here."""

    def __init__(self, pid: int) -> None:
        self.pid: Final = pid

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        os.waitpid(self.pid, 0)


_Start = Callable[[int, int], subprocess.Popen[bytes] | _ForkedProcess]
"""Starts a forkserver with the number of its socket, and the memory of each reading process."""


def _fork(control: int, memory_bytes: int) -> _ForkedProcess:
    """Start a forkserver as a fork of this process."""
    share_memory()
    child = os.fork()
    if child == 0:
        try:
            _leave_parent(control)
            # Imports all decoders, while the parent continues.
            from mammoscope.imaging.pool import forkserver

            forkserver.serve(control, memory_bytes)
        finally:
            os._exit(1)
    return _ForkedProcess(child)


def _leave_parent(control: int) -> None:
    """Leave the files, signal handlers, group and log of the parent."""
    os.setsid()
    logging.disable()
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.closerange(_FIRST_OTHER, control)
    os.closerange(control + 1, os.sysconf("SC_OPEN_MAX"))


def _unnamed_file() -> int:
    """Return a descriptor of an unnamed file in memory."""
    return os.memfd_create("image", os.MFD_CLOEXEC)


def _write_file(descriptor: int, data: bytes) -> None:
    os.ftruncate(descriptor, 0)  # frees the memory of the previous image
    view, offset = memoryview(data), 0
    while offset < len(view):
        offset += os.pwrite(descriptor, view[offset:], offset)
