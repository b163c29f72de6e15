"""List the recorded experiments.

Print the first, the best and the last epoch of each recorded run: AUC on training and validation
images, by breast, and the mean within machines; the minutes until then; and how the run's
configuration differs from the default preset. Earlier versions could fit a head by regression,
which counts as epoch 0.
"""

import argparse
import textwrap
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mammoscope.cli.arguments import Subparsers, add_command
from mammoscope.cli.release import RECORD_FOLDER
from mammoscope.errors import EmptyDatasetError, RunError
from mammoscope.settings.service import ENVIRONMENT_PREFIX, model_path
from mammoscope.settings.training import TrainConfig

if TYPE_CHECKING:
    from mammoscope.reports.record import Run


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = add_command(subparsers, __name__, run)
    parser.add_argument(
        "folder",
        metavar="DIR",
        type=Path,
        nargs="?",
        help=f"folder of records (default: of the model in {ENVIRONMENT_PREFIX}MODEL, else of the "
        "released model)",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="also list the backbone and tuning runs, which the notebooks compare",
    )


def run(args: argparse.Namespace) -> int:
    """List; 0.

    Raises
    ------
    EmptyDatasetError
        If the folder has no records.
    RunError
        If a record is damaged.
    """
    folder = args.folder or model_path() / RECORD_FOLDER
    found = sorted(path.parent for path in folder.glob("*/history.json"))
    if not found:
        raise EmptyDatasetError("The folder has no records.")
    from mammoscope.reports.images import BACKBONES, TUNING
    from mammoscope.reports.record import read_run
    from mammoscope.reports.tables import measured_by_folds

    records = [
        record
        for record in found
        if args.all or not any(fnmatch(record.name, kind) for kind in (BACKBONES, TUNING))
    ]
    width = max((len(record.name) for record in records), default=0) + 2
    columns = f"{'train':>7}  {'by image':21}{'breast':>7}{'within':>8}{'minutes':>9}"
    print(f"{'experiment':{width}}{'input':10}{'epoch':>6}{columns}")
    by_folds = []
    for record in records:
        try:
            recorded = read_run(record)
            lines = list(describe(recorded, width))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as err:
            raise RunError("A record is damaged.") from err
        print("\n".join(lines))
        if recorded.by_folds:
            by_folds.append(recorded.name)
    if by_folds:
        print(textwrap.fill(measured_by_folds(by_folds), 96))
    if len(records) < len(found):
        left_out = len(found) - len(records)
        print(f"{left_out} backbone and tuning runs are not shown; --all lists them.")
    return 0


def describe(run: "Run", name_width: int) -> Iterator[str]:
    """Yield the lines of one record: first, best and last epoch, and changes from the default.

    Each line starts with the name of the run. If the run finished, the line of the last epoch has
    the interval of the saved network.
    """
    from mammoscope.reports.tables import cell

    history = run.history
    height, width = run.config["input_size"]
    minutes = 0.0
    # A run on all folds is validated at its end only.
    best = max(range(len(history)), key=lambda index: history[index]["validation"].get("auc", 0.0))
    for index, entry in enumerate(history):
        minutes += sum(entry["seconds"].values()) / 60
        is_last = index == len(history) - 1
        if index not in (0, best) and not is_last:
            continue
        found = entry["validation"]
        area = _cell(found.get("auc"))
        if is_last and run.measured:
            area = cell(run.interval("auc"))
        learned = entry["train"]["auc"] if entry["train"] else None
        yield (
            f"{run.name:{name_width}}{f'{height}x{width}':10}{entry['epoch']:>6}"
            f"{_cell(learned):>7}  {area:21}{_cell(found.get('breast_auc')):>7}"
            f"{_cell(found.get('within_machine_auc')):>8}{minutes:>9.1f}"
        )
    default = {**_REMOVED, **TrainConfig().model_dump(mode="json")}
    differing = [
        f"{key} {value}"
        for key, value in run.config.items()
        if key in default and key not in _NO_CHANGE and default[key] != value
    ]
    if differing:
        yield textwrap.fill(
            ", ".join(differing), 96, initial_indent="    ", subsequent_indent="    "
        )


_NO_CHANGE: Final = ("weights", "input_size")
"""Keys not listed as differences: a file name, and keys that have their own column."""

_REMOVED: Final = {"auxiliary": False, "head_learns": True, "head_start": "auto"}
"""Defaults of settings that exist only in records of earlier versions."""


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
