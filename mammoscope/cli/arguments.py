"""Register commands, and define options that several commands share."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias, get_args

from mammoscope.data.dataset import LABEL_FOLDERS, Dataset, describe_ignored, read_dataset
from mammoscope.model.artifact.card import DEFAULT_POINT
from mammoscope.settings.service import ENVIRONMENT_PREFIX, OperatingPointName, model_path

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001
"""The type of argparse's subparsers, which has no public name."""

DEFAULT_MODEL: Final = f"(default: {ENVIRONMENT_PREFIX}MODEL, else the released model)"


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds an option's default to its help, unless it has none."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default == ():
            return action.help
        return super()._get_help_string(action)


def add_command(
    subparsers: Subparsers, module: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """Register the command named after a module.

    Parameters
    ----------
    subparsers
        Subparsers to add the command to.
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
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``, the model to predict with."""
    _add_model(parser, "PATH", "model folder, or the .keras file inside it")


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
    # The path itself is not the option's default, because the help would show it.
    parser.set_defaults(model=model_path())
    parser.add_argument(
        "--model",
        metavar=metavar,
        type=Path,
        default=argparse.SUPPRESS,
        help=f"{purpose} {DEFAULT_MODEL}",
    )


def add_model_to_change(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``, a model folder to write to; it must be given explicitly."""
    parser.add_argument(
        "--model", metavar="DIR", type=Path, required=True, help="model folder to write to"
    )


def add_labels(parser: "argparse._ActionsContainer") -> None:
    """Add ``--labels``, the folder names of both labels."""
    # The tuple is not the option's default, because the help would show it in Python syntax.
    parser.set_defaults(labels=LABEL_FOLDERS)
    parser.add_argument(
        "--labels",
        metavar="NAME,NAME",
        type=label_folders,
        default=argparse.SUPPRESS,
        help="folder names of label 0 and label 1, such as benign,malignant; "
        f"default: {','.join(LABEL_FOLDERS)}",
    )


def label_folders(argument: str) -> tuple[str, str]:
    """Parse ``--labels``: two different folder names.

    Raises
    ------
    argparse.ArgumentTypeError
        If they are invalid; argparse reports it.
    """
    names = [name.strip() for name in argument.split(",")]
    if len(names) != 2 or not all(names) or names[0].casefold() == names[1].casefold():
        raise argparse.ArgumentTypeError(
            f"{argument!r} is not two names separated by a comma, as in benign,malignant"
        )
    return names[0], names[1]


def read_labelled(
    folder: Path, metadata: Path | None = None, labels: tuple[str, str] = LABEL_FOLDERS
) -> Dataset:
    """Read a data set with `mammoscope.data.dataset.read_dataset`, and report ignored folders."""
    dataset = read_dataset(folder, metadata, labels)
    for sentence in describe_ignored(dataset.ignored):
        print(sentence, file=sys.stderr)
    return dataset


def positive(argument: str) -> int:
    """Parse a count: an integer above 0.

    Raises
    ------
    argparse.ArgumentTypeError
        If the number is not above 0; argparse reports it.
    """
    number = int(argument)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not above 0")
    return number
