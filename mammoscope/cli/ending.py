"""How every command ends: exit status, and messages about errors."""

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from mammoscope.cli.extras import explain_missing
from mammoscope.cli.output import shown
from mammoscope.errors import MammoscopeError, StorageError, UsageError
from mammoscope.system.interrupts import EXIT_INTERRUPTED

EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2


def ended(name: str, work: Callable[[], int]) -> int:
    """Run the command `name`; returns the exit status.

    0 means success, 1 a refused input, 2 wrong usage, 130 an interruption. File names are printed
    with their original bytes, even if these are not valid text.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # tests replace it by other streams
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        with _standard_output_may_end():
            status = work()
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{name}: stopped.\n")
        return EXIT_INTERRUPTED
    except (MammoscopeError, _OutputEndedError, OSError, ModuleNotFoundError) as err:
        sentence = _explained(err)
        if sentence is None:
            raise
        if sentence:
            sys.stderr.write(f"{name}: {sentence}\n")
        return EXIT_USAGE if isinstance(err, UsageError) else EXIT_REFUSED
    return status


def _explained(error: Exception) -> str | None:
    """Return what is said of an error, which may be nothing; None if it is unexpected."""
    if isinstance(error, MammoscopeError):
        return described(error)
    if isinstance(error, ModuleNotFoundError):
        return explain_missing(error)
    if isinstance(error, OSError):
        too_long = error.errno == errno.ENAMETOOLONG
        return "a path is longer than the system allows." if too_long else None
    return str(error)


def described(error: MammoscopeError) -> str:
    """Return the message of an error, after the path that it is about.

    If the system would not write something, its reason follows.
    """
    message = str(error) if error.path is None else f"{shown(error.path)}: {error}"
    cause = error.__cause__
    if isinstance(error, StorageError) and isinstance(cause, OSError) and cause.errno:
        return f"{message} The system says: {os.strerror(cause.errno)}."
    return message


class _OutputEndedError(Exception):
    """Standard output cannot be written; the message is empty if nobody reads it any more."""


@contextmanager
def _standard_output_may_end() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as err:  # the reader has closed the pipe, as head does
        _give_up_standard_output()
        raise _OutputEndedError from err
    except OSError as err:
        if err.errno not in (errno.ENOSPC, errno.EIO):  # commands convert all other errors
            raise
        _give_up_standard_output()
        raise _OutputEndedError("the result cannot be written to standard output.") from err


def _give_up_standard_output() -> None:
    """Discard the rest of the buffer; writing it at exit would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
