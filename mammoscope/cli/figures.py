"""``mammoscope dev figures``: the project's own figures from its records."""

import argparse
import json
from pathlib import Path
from typing import Any

from mammoscope.cli.arguments import add_model_folder
from mammoscope.cli.explore import DEFAULT as DATASET
from mammoscope.cli.release import RECORD_FOLDER
from mammoscope.errors import RunError
from mammoscope.model.artifact import CARD_NAME


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "figures",
        help="draw the project's figures from its records",
        description=(
            "Write an SVG for each figure that the records of the data set, of the trainings and "
            "of the released model hold enough for."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_model_folder(parser, "model folder with the records of the trainings below it")
    parser.add_argument("--to", metavar="DIR", type=Path, default=Path("images"), help="to where")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Draw; 0.

    Raises
    ------
    RunError
        If there is no card, or a record is damaged or lacks what its figures show.
    StorageError
        If a figure cannot be written.
    """
    from mammoscope.reports import write_images

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
