"""Options that several commands have."""

import argparse
from pathlib import Path
from typing import get_args

from mammoscope.model.artifact import DEFAULT_POINT
from mammoscope.settings import OperatingPointName, ServiceSettings


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``, the model to predict with."""
    parser.add_argument(
        "--model",
        metavar="PATH",
        type=Path,
        default=ServiceSettings.model_fields["model"].default,
        help="model folder, or a .keras file",
    )


def add_operating_point(parser: argparse.ArgumentParser) -> None:
    """Add ``--operating-point``, which decides labels."""
    parser.add_argument(
        "--operating-point",
        choices=get_args(OperatingPointName),
        default=DEFAULT_POINT,
        help="operating point of the model's card that decides the label",
    )


def add_model_folder(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Add ``--model``, a model folder to change; `purpose` is its help."""
    parser.add_argument(
        "--model",
        metavar="DIR",
        type=Path,
        default=ServiceSettings.model_fields["model"].default,
        help=purpose,
    )


def positive(argument: str) -> int:
    """Type of an option that counts something: an integer above 0.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is not above 0; argparse reports it.
    """
    number = int(argument)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not above 0")
    return number
