"""``python -m mammoscope COMMAND``."""

import argparse
import errno
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from mammoscope import __doc__ as package_doc
from mammoscope import __version__, cli
from mammoscope.errors import MammoscopeError

EXIT_REFUSED = 1
EXIT_INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    made = argparse.ArgumentParser(
        prog="mammoscope", description=(package_doc or "").splitlines()[0]
    )
    made.add_argument("--version", action="version", version=f"mammoscope {__version__}")
    subparsers = made.add_subparsers(required=True, metavar="COMMAND")
    for module in cli.COMMANDS:
        importlib.import_module(f"{cli.__name__}.{module}").add_parser(subparsers)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 fine, 1 refused, 2 usage, 130 interrupted."""
    options = parser().parse_args(arguments)
    logging.basicConfig(format="mammoscope: %(message)s")
    logging.getLogger("mammoscope").setLevel(logging.INFO)
    try:
        status = int(options.run(options))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the results has seen enough; nobody is left to tell.
        _give_up_standard_output()
        return EXIT_REFUSED
    except OSError as err:
        if err.errno not in (errno.ENOSPC, errno.EIO):  # commands type all other failures
            raise
        _give_up_standard_output()
        sys.stderr.write("mammoscope: the result cannot be written to standard output.\n")
        return EXIT_REFUSED
    except MammoscopeError as err:
        sys.stderr.write(f"mammoscope: {err}\n")
        return EXIT_REFUSED
    except KeyboardInterrupt:
        sys.stderr.write("\nmammoscope: stopped.\n")
        return EXIT_INTERRUPTED
    return status


def _give_up_standard_output() -> None:
    """Throw away what is left in the buffer: it would fail again when the interpreter exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
