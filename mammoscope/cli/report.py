"""Compare training runs in an HTML page with figures.

Write a self-contained HTML page: tables with intervals, curves, ROC and reliability of any training
runs or of their published records. The other runs are compared with the first.
"""

import argparse
from pathlib import Path

from mammoscope.cli.arguments import Subparsers, add_command


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = add_command(subparsers, __name__, run)
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="folders of runs")
    parser.add_argument(
        "--output", metavar="HTML", type=Path, default=Path("report.html"), help="page to write"
    )


def run(args: argparse.Namespace) -> int:
    """Write the page; 0.

    Raises
    ------
    RunError
        If a record is missing, damaged, or lacks data for its figures.
    StorageError
        If the page cannot be written.
    """
    from mammoscope.reports.page import write_page
    from mammoscope.reports.record import read_run

    write_page([read_run(folder) for folder in args.runs], args.output)
    print(f"The report is in {args.output}.")
    return 0
