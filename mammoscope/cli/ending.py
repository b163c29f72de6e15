"""How every command ends: exit status, and what is said where it cannot go on."""

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from mammoscope.cli.extras import explain_missing
from mammoscope.errors import MammoscopeError, UsageError
from mammoscope.system.interrupts import EXIT_INTERRUPTED

EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2


def ended(name: str, work: Callable[[], int]) -> int:
    """Do the work of the command `name`; returns the exit status.

    0 is fine, 1 a refused input, 2 wrong usage, 130 an interruption. Names of files are printed
    with the bytes that they have, also where those are no text.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # tests put other streams in its place
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        with _standard_output_may_end():
            status = work()
            sys.stdout.flush()
    except UsageError as err:
        sys.stderr.write(f"{name}: {err}\n")
        return EXIT_USAGE
    except (MammoscopeError, _OutputEndedError) as err:
        if str(err):
            sys.stderr.write(f"{name}: {err}\n")
        return EXIT_REFUSED
    except ModuleNotFoundError as err:
        if (sentence := explain_missing(err)) is None:
            raise
        sys.stderr.write(f"{name}: {sentence}\n")
        return EXIT_REFUSED
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{name}: stopped.\n")
        return EXIT_INTERRUPTED
    return status


class _OutputEndedError(Exception):
    """Standard output takes no more; the message is empty where nobody is left to tell."""


@contextmanager
def _standard_output_may_end() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as err:  # whoever read the results has seen enough
        _give_up_standard_output()
        raise _OutputEndedError from err
    except OSError as err:
        if err.errno not in (errno.ENOSPC, errno.EIO):  # commands type all other failures
            raise
        _give_up_standard_output()
        raise _OutputEndedError("the result cannot be written to standard output.") from err


def _give_up_standard_output() -> None:
    """Throw away what is left in the buffer: it would fail again when the interpreter exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
