"""Train the runs of a recipe file, one after another.

Train each run of a recipe file in a separate process, and copy its record. Finished runs are
skipped and stopped runs are continued, so the command can be run again at any time. If a run fails,
it is reported, runs that need it fail too, and the others continue.
"""

import argparse
import multiprocessing
import os
import sys
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Final, get_args

from mammoscope.cli.arguments import Subparsers, add_command
from mammoscope.cli.extras import require
from mammoscope.cli.release import copy_record
from mammoscope.data.fold_table import FOLDS_TABLE
from mammoscope.errors import MammoscopeError, UsageError
from mammoscope.model.artifact.folder import CARD_NAME
from mammoscope.training.recipes import DataName, PlannedRun, read_plan
from mammoscope.training.run_folder import RunPaths

_PLAN: Final = Path("recipes") / "experiments.toml"
_CACHE: Final = "cache"
_INTERRUPTED: Final = 130


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = add_command(subparsers, __name__, run)
    parser.add_argument(
        "plan", metavar="RECIPES", type=Path, nargs="?", default=_PLAN, help="recipe file, TOML"
    )
    parser.add_argument(
        "--data",
        metavar="[NAME=]DIR",
        type=_data,
        action="append",
        required=True,
        help="folder of images; repeat for each data set of the runs: folders, ddsm, lesions",
    )
    parser.add_argument(
        "--runs", metavar="DIR", type=Path, default=Path("runs"), help="folder for all runs"
    )
    parser.add_argument(
        "--records",
        metavar="DIR",
        type=Path,
        help="folder for copies of each run's publishable record, such as model/experiments",
    )
    parser.add_argument(
        "--imagenet", metavar="FILE", type=Path, help="weights file for runs with weights imagenet"
    )
    parser.add_argument(
        "--folds", metavar="FILE", type=Path, default=FOLDS_TABLE, help="table of folds"
    )
    parser.add_argument(
        "--only", metavar="NAME", nargs="+", help="names of runs to train; * matches any text"
    )
    parser.add_argument(
        "--list", action="store_true", help="print the state of each run without training"
    )


def _data(text: str) -> tuple[str, Path]:
    """Parse ``NAME=DIR``; a folder without a name is ``folders``."""
    name, _, folder = text.partition("=")
    if name in get_args(DataName) and folder:
        return name, Path(folder)
    return "folders", Path(text)


def run(args: argparse.Namespace) -> int:
    """Train; 1 if a run failed.

    Raises
    ------
    UsageError, ConfigurationError
        If the recipe file cannot be used or has no run that matches ``--only``, or the folder of a
        run's data is missing.
    StorageError
        If a record cannot be written.
    """
    planned = read_plan(args.plan, args.imagenet)
    if args.only:
        planned = tuple(
            each for each in planned if any(fnmatch(each.name, wish) for wish in args.only)
        )
        if not planned:
            raise UsageError("The recipe file has no run with such a name.")
    if args.list:
        for each in planned:
            print(f"{each.name:32}{_state(args.runs / each.name)}")
        return 0
    folders = dict(args.data)
    if missing := sorted(set().union(*(each.folders for each in planned)) - folders.keys()):
        raise UsageError(
            f"The runs need the data {', '.join(missing)}; give each folder with --data NAME=DIR."
        )
    require("tensorflow")
    failed = [each.name for each in planned if not _finish(each, folders, args)]
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


def _state(folder: Path) -> str:
    if (folder / CARD_NAME).is_file():
        return "finished"
    return "begun" if folder.is_dir() else "planned"


def _finish(planned: PlannedRun, data: Mapping[str, Path], args: argparse.Namespace) -> bool:
    """Finish a run and copy its record; False if it failed."""
    folder = args.runs / planned.name
    if _state(folder) != "finished":
        if waits := [name for name in planned.needs if _state(args.runs / name) != "finished"]:
            print(f"{planned.name}: {', '.join(waits)} must be finished first.", file=sys.stderr)
            return False
        print(f"{planned.name} ...", flush=True)
        # A separate process frees all memory when it ends, and a crash does not affect the others.
        process = multiprocessing.get_context("spawn").Process(
            target=_train, args=(planned, data, args)
        )
        process.start()
        process.join()
        if process.exitcode == _INTERRUPTED:
            raise KeyboardInterrupt
        if process.exitcode != 0:
            return False
    if args.records is None:
        print(f"{planned.name}: finished in {folder}.", flush=True)
    else:
        record = copy_record(folder, data[planned.data], (args.records / planned.name).parent)
        print(f"{planned.name}: the record is in {record}.", flush=True)
    return True


def _train(planned: PlannedRun, data: Mapping[str, Path], args: argparse.Namespace) -> None:
    """Start or continue a run; the process exits with 0, 1 or 130."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from mammoscope.training.training_run import train

        paths = RunPaths(
            data[planned.data],
            args.runs / planned.name,
            args.runs / _CACHE,
            folds=args.folds if planned.config.fold else None,
            lesions=data.get("lesions"),
        )
        train(planned.config_in(args.runs), paths, print, resume=True)
    except MammoscopeError as err:
        sys.exit(f"{planned.name}: {err}")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
