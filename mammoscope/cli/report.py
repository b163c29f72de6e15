"""``mammoscope dev report RUN...``: runs compared as an HTML page with figures."""

import argparse
from pathlib import Path


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "report",
        help="compare training runs as an HTML page with figures",
        description=(
            "Write one HTML page that needs no other file: tables with intervals, curves, ROC and "
            "reliability of any training runs or of their published records. The first is what "
            "the others are compared with."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="folders of runs")
    parser.add_argument(
        "--output", metavar="HTML", type=Path, default=Path("report.html"), help="page to write"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the page; 0.

    Raises
    ------
    RunError
        If a record is missing, damaged, or lacks what its figures show.
    StorageError
        If the page cannot be written.
    """
    from mammoscope.reports import read_run, write_page

    write_page([read_run(folder) for folder in args.runs], args.output)
    print(f"The report is in {args.output}.")
    return 0
