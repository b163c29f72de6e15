"""Draw the project's figures from its records.

Write an SVG file for each figure whose data are in the records of the data set, the trainings and
the released model.
"""

import argparse
from pathlib import Path

from mammoscope.cli.arguments import Subparsers, add_command, add_model_folder
from mammoscope.cli.release import RECORD_FOLDER
from mammoscope.model.artifact.folder import CARD_NAME


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = add_command(subparsers, __name__, run)
    add_model_folder(parser, "model folder with the records of its trainings")
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        default=Path("images"),
        help="folder to write the figures to",
    )


def run(args: argparse.Namespace) -> int:
    """Draw; 0.

    Raises
    ------
    RunError
        If there is no card, or a record is damaged or lacks data for its figures.
    StorageError
        If a figure cannot be written.
    """
    from mammoscope.reports.images import write_images
    from mammoscope.reports.record import read_object

    records = args.model / RECORD_FOLDER
    dataset = records / "dataset.json"
    written = write_images(
        read_object(args.model / CARD_NAME),
        records,
        read_object(dataset) if dataset.is_file() else None,
        args.output,
    )
    print(f"{len(written)} figures are in {args.output}.")
    return 0
