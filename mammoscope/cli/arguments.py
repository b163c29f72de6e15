"""How commands are registered, and options that several of them have."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias, get_args

from mammoscope.data.dataset import LABEL_FOLDERS, Dataset, describe_ignored, read_dataset
from mammoscope.model.artifact.card import DEFAULT_POINT
from mammoscope.settings.service import ENVIRONMENT_PREFIX, OperatingPointName, model_path

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001
"""What argparse has no public name for."""

DEFAULT_MODEL: Final = f"(default: {ENVIRONMENT_PREFIX}MODEL, else the released model)"


def add_command(
    subparsers: Subparsers, module: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """Register the command that a module is named for.

    Parameters
    ----------
    subparsers
        Where commands are registered.
    module
        Name of the module. The first line of its docstring is the command's help, the second
        paragraph its description.
    run
        Runs the command; returns the exit status.
    """
    title, _, description = (sys.modules[module].__doc__ or "").partition("\n\n")
    parser = subparsers.add_parser(
        module.rpartition(".")[2],
        help=title[:1].lower() + title[1:].removesuffix("."),
        description=" ".join(description.split()),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


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


def add_model_to_change(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``, a model folder that is written to: it must be named on the command line."""
    parser.add_argument(
        "--model", metavar="DIR", type=Path, required=True, help="model folder to write to"
    )


def add_labels(parser: "argparse._ActionsContainer") -> None:
    """Add ``--labels``, the names of the folders of both labels."""
    # Not the default of the option: the help would show it as Python writes it.
    parser.set_defaults(labels=LABEL_FOLDERS)
    parser.add_argument(
        "--labels",
        metavar="NAME,NAME",
        type=label_folders,
        default=argparse.SUPPRESS,
        help="names of the folders of label 0 and label 1, such as benign,malignant; "
        f"default: {','.join(LABEL_FOLDERS)}",
    )


def label_folders(argument: str) -> tuple[str, str]:
    """Type of ``--labels``: two different names of folders.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is not that; argparse reports it.
    """
    names = [name.strip() for name in argument.split(",")]
    if len(names) != 2 or not all(names) or names[0].casefold() == names[1].casefold():
        raise argparse.ArgumentTypeError(
            f"{argument!r} is not two names with a comma between them, as in benign,malignant"
        )
    return names[0], names[1]


def read_labelled(
    folder: Path, metadata: Path | None = None, labels: tuple[str, str] = LABEL_FOLDERS
) -> Dataset:
    """Read a data set as `mammoscope.data.dataset.read_dataset` does, and say what is ignored."""
    dataset = read_dataset(folder, metadata, labels)
    for sentence in describe_ignored(dataset.ignored):
        print(sentence, file=sys.stderr)
    return dataset


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
