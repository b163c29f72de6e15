"""``mammoscope dev experiments``: list the recorded experiments."""

import argparse
import json
import textwrap
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from mammoscope.cli.release import RECORD_FOLDER
from mammoscope.errors import EmptyDatasetError, RunError
from mammoscope.settings import TrainConfig

_DEFAULT: Final = Path("model") / RECORD_FOLDER


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "experiments",
        help="list the recorded experiments",
        description=(
            "A line for the first, the best and the last epoch of each recorded run: AUC on "
            "training and on validation images, by breast, and the mean within machines; minutes "
            "until then; and how the run's configuration differs from the default preset. "
            "Earlier versions could fit a head by regression, which counts as epoch 0."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "folder", metavar="DIR", type=Path, nargs="?", default=_DEFAULT, help="the records"
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="also list the backbone and tuning runs, which the notebooks compare",
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
    found = sorted(path.parent for path in args.folder.glob("*/history.json"))
    if not found:
        raise EmptyDatasetError("The folder holds no records.")
    from mammoscope.reports import BACKBONES, TUNING

    records = [
        record
        for record in found
        if args.all or not any(fnmatch(record.name, kind) for kind in (BACKBONES, TUNING))
    ]
    width = max((len(record.name) for record in records), default=0) + 2
    columns = f"{'train':>7}  {'by image':21}{'breast':>7}{'within':>8}{'minutes':>9}"
    print(f"{'experiment':{width}}{'input':10}{'epoch':>6}{columns}")
    for record in records:
        try:
            config = json.loads((record / "config.json").read_bytes())
            history = json.loads((record / "history.json").read_bytes())
            metrics_path = record / "metrics.json"
            metrics = json.loads(metrics_path.read_bytes()) if metrics_path.is_file() else {}
            name = record.name.ljust(width)
            lines = list(describe(name, config, history, metrics.get("validation")))
        except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as err:
            raise RunError("A record is damaged.") from err
        print("\n".join(lines))
    if len(records) < len(found):
        left_out = len(found) - len(records)
        print(f"{left_out} backbone and tuning runs are not shown; --all lists them.")
    return 0


def describe(
    name: str,
    config: dict[str, Any],
    history: list[dict[str, Any]],
    measured: dict[str, Any] | None,
) -> Iterator[str]:
    """Lines of one record: its first, best and last epoch, and how it differs from the default.

    Each begins with `name`. `measured` is that of the saved network, None if the run did not end;
    the line of the last epoch shows its interval.
    """
    height, width = config["input_size"]
    minutes = 0.0
    best = max(range(len(history)), key=lambda index: history[index]["validation"]["auc"])
    for index, entry in enumerate(history):
        minutes += sum(entry["seconds"].values()) / 60
        is_last = index == len(history) - 1
        if index not in (0, best) and not is_last:
            continue
        found = entry["validation"]
        area = f"{found['auc']:.3f}"
        if is_last and measured:
            auc = measured["auc"]
            area = f"{auc['value']:.3f} ({auc['low']:.3f}–{auc['high']:.3f})"
        learned = entry["train"]["auc"] if entry["train"] else None
        yield (
            f"{name}{f'{height}x{width}':10}{entry['epoch']:>6}{_cell(learned):>7}  {area:21}"
            f"{_cell(found['breast_auc']):>7}{_cell(found.get('within_machine_auc')):>8}"
            f"{minutes:>9.1f}"
        )
    default = {**_REMOVED, **TrainConfig().model_dump(mode="json")}
    differing = [
        f"{key} {value}"
        for key, value in config.items()
        if key in default and key not in _NO_CHANGE and default[key] != value
    ]
    if differing:
        yield textwrap.fill(
            ", ".join(differing), 96, initial_indent="    ", subsequent_indent="    "
        )


_NO_CHANGE: Final = ("weights", "input_size")
"""Not listed as a difference: a file's name, and what has a column of its own."""

_REMOVED: Final = {"auxiliary": False, "head_learns": True, "head_start": "auto"}
"""Defaults of settings that only records of earlier versions have."""


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
