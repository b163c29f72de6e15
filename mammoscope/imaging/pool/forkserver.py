"""The process from which reading processes are forked, and the loop that each of them runs.

It has no threads and none of the service's sockets. It is a program of its own,
``python -m mammoscope.imaging.pool.forkserver FD BYTES``, or itself a fork. It imports the decoders
once, while the service starts; a fork of it is ready in milliseconds and shares its memory. Over
the socket FD it receives ``fork`` with three descriptors and replies with the process id, or it
receives ``kill`` and a process id.

All processes end with the service, because they then read end of file.
"""

# ruff: noqa: E402 - one import is prevented first

import os
import resource
import signal
import socket
import sys
from typing import Final

# pydicom would import it to download sample files, and these processes would hold more memory.
sys.modules.setdefault("requests", None)  # type: ignore[arg-type]

import cv2
import numpy.ma  # noqa: F401 NumPy imports it when it first computes a median
import PIL.Image

import mammoscope.imaging.dicom.mammography  # noqa: F401 forks share what is imported here
from mammoscope.errors import ImageError
from mammoscope.imaging.display_image import DisplayOptions, make_display_image
from mammoscope.imaging.network_input import ReadingOptions, make_network_input
from mammoscope.imaging.pool.transport import (
    FORK,
    KILL,
    Outcome,
    decode_request,
    encode_answer,
)
from mammoscope.system.allocator import keep_memory, share_memory

_HELD_KB_LINE: Final = "VmSize:"

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)
"""Signals sent to whole process groups; the service decides when its reading processes end."""


def main() -> None:
    """Serve as a program."""
    serve(int(sys.argv[1]), int(sys.argv[2]))


def serve(number: int, memory_bytes: int) -> None:
    """Serve fork requests until the service closes its end of the socket."""
    share_memory()
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    control = socket.socket(fileno=number)
    cv2.setNumThreads(1)
    keep_memory()
    PIL.Image.preinit()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 64, 3)
        if not message:
            return
        if message == FORK:
            child = os.fork()
            if child == 0:
                control.close()
                _silence()
                requests, answers, shared = descriptors
                _read_images(requests, answers, shared, memory_bytes)
                os._exit(0)
            for descriptor in descriptors:
                os.close(descriptor)
            control.send(str(child).encode())
        elif message.startswith(KILL):
            child = int(message.removeprefix(KILL))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _silence() -> None:
    """Keep decoders' output out of the service's log."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nowhere, standard)
    os.close(nowhere)


def _read_images(requests: int, answers: int, shared: int, memory_bytes: int) -> None:
    """Answer requests until there are no more; exits if memory runs out."""
    held = _address_space_bytes()
    resource.setrlimit(resource.RLIMIT_AS, (held + memory_bytes, held + memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with os.fdopen(requests, "rb") as lines, os.fdopen(answers, "wb", buffering=0) as output:
        for line in lines:
            request = decode_request(line)
            _allow_processor_time(request.cpu_s)
            data = os.pread(shared, request.bytes, 0)
            try:
                parts = encode_answer(_outcome(data, request.options))
            except MemoryError:
                os._exit(1)
            for part in parts:
                _write(output.fileno(), part)


def _outcome(data: bytes, options: ReadingOptions | DisplayOptions) -> Outcome | ImageError:
    try:
        if isinstance(options, DisplayOptions):
            return make_display_image(data, options)
        return make_network_input(data, options)
    except ImageError as err:
        return err


def _write(descriptor: int, part: bytes | memoryview) -> None:
    view = memoryview(part)
    while view:
        view = view[os.write(descriptor, view) :]


def _allow_processor_time(seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = used.ru_utime + used.ru_stime
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(spent) + seconds + 1, most))


def _address_space_bytes() -> int:
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 a process file
        line = next(line for line in status if line.startswith(_HELD_KB_LINE))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
