"""Draw the project's figures from its records.

Write an SVG for each figure that the records of the data set, of the trainings and of the released
model hold enough for.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from mammoscope.cli.arguments import Subparsers, add_command, add_model_folder
from mammoscope.cli.explore import DEFAULT as DATASET
from mammoscope.cli.release import RECORD_FOLDER
from mammoscope.errors import RunError
from mammoscope.model.artifact import CARD_NAME


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = add_command(subparsers, __name__, run)
    add_model_folder(parser, "model folder with the records of the trainings below it")
    parser.add_argument("--to", metavar="DIR", type=Path, default=Path("images"), help="to where")


def run(args: argparse.Namespace) -> int:
    """Draw; 0.

    Raises
    ------
    RunError
        If there is no card, or a record is damaged or lacks what its figures show.
    StorageError
        If a figure cannot be written.
    """
    from mammoscope.reports.images import write_images

    records = args.model / RECORD_FOLDER
    dataset = records / DATASET.name
    written = write_images(
        _read(args.model / CARD_NAME),
        records,
        _read(dataset) if dataset.is_file() else None,
        args.to,
    )
    print(f"{len(written)} figures are in {args.to}.")
    return 0


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as err:
        raise RunError(f"{path.name} is missing or damaged.") from err
    return found
