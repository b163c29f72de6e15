"""``python -m mammoscope experiments``: what was tried, from the records."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mammoscope.commands.release import RECORD_FOLDER
from mammoscope.errors import EmptyDatasetError, RunError

_DEFAULT: Final = Path("model") / RECORD_FOLDER


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "experiments",
        help="list what was tried, from the records",
        description=(
            "A line for the first and the last epoch of each recorded run, 0 being a head fitted "
            "by regression: AUC on training and on validation pictures, by breast, and the mean "
            "within machines; minutes until then."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "folder", metavar="DIR", type=Path, nargs="?", default=_DEFAULT, help="the records"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List; 0.

    Raises
    ------
    EmptyDatasetError
        If the folder holds no record.
    RunError
        If a record is damaged.
    """
    records = sorted(path.parent for path in args.folder.glob("*/history.json"))
    if not records:
        raise EmptyDatasetError("The folder holds no records.")
    columns = f"{'train':>7}{'picture':>9}{'breast':>8}{'within':>8}{'minutes':>9}"
    print(f"{'experiment':22}{'input':10}{'epoch':>6}{columns}")
    for record in records:
        try:
            config = json.loads((record / "config.json").read_bytes())
            history = json.loads((record / "history.json").read_bytes())
            lines = list(describe(record.name, config, history))
        except (OSError, ValueError, KeyError, IndexError, TypeError) as err:
            raise RunError("A record is damaged.") from err
        print("\n".join(lines))
    return 0


def describe(name: str, config: dict[str, Any], history: list[dict[str, Any]]) -> Iterator[str]:
    """Lines of one record: its first epoch and its last."""
    height, width = config["input_size"]
    minutes = 0.0
    for index, entry in enumerate(history):
        minutes += sum(entry["seconds"].values()) / 60
        if index not in (0, len(history) - 1):
            continue
        found = entry["validation"]
        learned = entry["train"]["auc"] if entry["train"] else None
        numbers = (learned, found["auc"], found["breast_auc"], found.get("within_machine_auc"))
        cells = ("–" if number is None else f"{number:.3f}" for number in numbers)
        yield (
            f"{name:22}{f'{height}x{width}':10}{entry['epoch']:>6}"
            "{:>7}{:>9}{:>8}{:>8}".format(*cells)
            + f"{minutes:>9.1f}"
        )
