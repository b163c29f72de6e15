"""``mammoscope archive``: studies from a picture archive (PACS), and results back into it."""

from mammoscope.cli import archive_report, archive_worker
from mammoscope.cli.arguments import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Register the commands."""
    purpose = "take studies from a PACS, and store results in it"
    parser = subparsers.add_parser(
        "archive", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    archive_report.add_parser(commands)
    archive_worker.add_parsers(commands)
