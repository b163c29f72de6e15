"""``mammoscope key NAME --file FILE``: a new API key for the service."""

import argparse
import datetime as dt
from pathlib import Path
from typing import Final

from mammoscope.errors import ConfigurationError
from mammoscope.service.keys import issue_key

_LONGEST_DAYS: Final = 36_500


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "key",
        help="issue an API key",
        description=(
            "Draw an API key and print it. The file gets its hash alone: a running service "
            "that reads the file takes the key from then on, and refuses it once its line is gone."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="whose key it is, as the service logs it")
    parser.add_argument(
        "--file",
        metavar="FILE",
        type=Path,
        required=True,
        help="the service's file of keys; it is made if there is none",
    )
    parser.add_argument("--days", metavar="N", type=int, help="days for which the key is valid")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Issue and print; 0.

    Raises
    ------
    ConfigurationError
        If name or days are not allowed, the name is taken, or the file is none of keys.
    StorageError
        If the file cannot be written.
    """
    expires = None
    if args.days is not None:
        if not 0 < args.days <= _LONGEST_DAYS:
            raise ConfigurationError(f"--days must be from 1 to {_LONGEST_DAYS}.")
        today = dt.datetime.now(dt.UTC).date()
        expires = today + dt.timedelta(days=args.days)
    print(issue_key(args.file, args.name, expires=expires))
    return 0
