"""Issue an API key.

Generate an API key and print it. Only its hash is added to the file. A running service that reads
the file accepts the key from then on, and refuses it once its line is removed.
"""

import argparse
import datetime as dt
from pathlib import Path
from typing import Final

from mammoscope.cli.arguments import Subparsers, add_command
from mammoscope.errors import UsageError
from mammoscope.service.keys import issue_key

_LONGEST_DAYS: Final = 36_500


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = add_command(subparsers, __name__, run)
    parser.add_argument(
        "name", metavar="NAME", help="name of the key's owner, as logged by the service"
    )
    parser.add_argument(
        "--file",
        metavar="FILE",
        type=Path,
        required=True,
        help="the service's key file; created if missing",
    )
    parser.add_argument("--days", metavar="N", type=int, help="days for which the key is valid")


def run(args: argparse.Namespace) -> int:
    """Issue and print; 0.

    Raises
    ------
    UsageError
        If the number of days is invalid.
    ConfigurationError
        If the name is invalid or taken, or the file is not a key file.
    StorageError
        If the file cannot be written.
    """
    expires = None
    if args.days is not None:
        if not 0 < args.days <= _LONGEST_DAYS:
            raise UsageError(f"--days must be from 1 to {_LONGEST_DAYS}.")
        today = dt.datetime.now(dt.UTC).date()
        expires = today + dt.timedelta(days=args.days)
    print(issue_key(args.file, args.name, expires=expires))
    return 0
