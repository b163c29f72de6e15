"""Options that several commands have."""

import argparse
from pathlib import Path
from typing import Final, get_args

from mammoscope.model.artifact import DEFAULT_POINT
from mammoscope.settings import ENVIRONMENT_PREFIX, OperatingPointName, model_path

DEFAULT_MODEL: Final = f"(default: {ENVIRONMENT_PREFIX}MODEL, else the released model)"


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``, the model to predict with."""
    _add_model(parser, "PATH", "model folder, or a .keras file in one")


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
    _add_model(parser, "DIR", purpose)


def _add_model(parser: argparse.ArgumentParser, metavar: str, purpose: str) -> None:
    # Not the default of the option: the help would show a path of this machine.
    parser.set_defaults(model=model_path())
    parser.add_argument(
        "--model",
        metavar=metavar,
        type=Path,
        default=argparse.SUPPRESS,
        help=f"{purpose} {DEFAULT_MODEL}",
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
