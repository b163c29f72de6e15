"""``python -m mammoscope trainings``: what is planned is trained, one run after another."""

import argparse
import multiprocessing
import os
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from mammoscope.cli.release import RECORD_FOLDER, copy_record
from mammoscope.errors import ConfigurationError, MammoscopeError
from mammoscope.model.artifact import CARD_NAME
from mammoscope.training.recipes import PlannedRun, read_plan

_RECORDS: Final = Path("model") / RECORD_FOLDER
_PLAN: Final = _RECORDS / "plan.toml"
_CACHE: Final = "cache"
_INTERRUPTED: Final = 130


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "trainings",
        help="train what is planned, one run after another",
        description=(
            "Train each run of a plan in a process of its own and copy its record. Finished runs "
            "are skipped and a run that was stopped is continued, so that the command may be "
            "started again at any time. A run that fails is named, and the others go on."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "plan", metavar="PLAN", type=Path, nargs="?", default=_PLAN, help="list of runs, TOML"
    )
    parser.add_argument("--data", metavar="DIR", type=Path, required=True, help="mammograms")
    parser.add_argument("--runs", metavar="DIR", type=Path, default=Path("runs"), help="to where")
    parser.add_argument(
        "--records", metavar="DIR", type=Path, default=_RECORDS, help="where records are copied to"
    )
    parser.add_argument(
        "--imagenet", metavar="FILE", type=Path, help="weights for runs that ask for imagenet"
    )
    parser.add_argument(
        "--only", metavar="NAME", nargs="+", help="runs to train, * standing for anything"
    )
    parser.add_argument(
        "--list", action="store_true", help="say how far each run is, and train nothing"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train; 1 if a run failed.

    Raises
    ------
    ConfigurationError
        If the plan cannot be used, or has no run of a name in ``--only``.
    StorageError
        If a record cannot be written.
    """
    planned = read_plan(args.plan, args.imagenet)
    if args.only:
        planned = tuple(
            each for each in planned if any(fnmatch(each.name, wish) for wish in args.only)
        )
        if not planned:
            raise ConfigurationError("The plan has no run of such a name.")
    if args.list:
        for each in planned:
            print(f"{each.name:32}{_state(args.runs / each.name)}")
        return 0
    failed = [each.name for each in planned if not _finish(each, args)]
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


def _state(folder: Path) -> str:
    if (folder / CARD_NAME).is_file():
        return "finished"
    return "begun" if folder.is_dir() else "planned"


def _finish(planned: PlannedRun, args: argparse.Namespace) -> bool:
    """Bring a run to its end and copy its record; False if it failed."""
    folder = args.runs / planned.name
    if _state(folder) != "finished":
        print(f"{planned.name} ...", flush=True)
        # A process of its own gives all memory back, and a run that dies takes nobody along.
        process = multiprocessing.get_context("spawn").Process(
            target=_train, args=(planned, args.data, args.runs)
        )
        process.start()
        process.join()
        if process.exitcode == _INTERRUPTED:
            raise KeyboardInterrupt
        if process.exitcode != 0:
            return False
    record = copy_record(folder, args.data, args.records)
    print(f"{planned.name}: the record is in {record}.", flush=True)
    return True


def _train(planned: PlannedRun, data: Path, runs: Path) -> None:
    """Train a run from where it is; the process ends with 0, 1 or 130."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from mammoscope.training.run import RunPaths, train

        paths = RunPaths(data, runs / planned.name, runs / _CACHE)
        train(planned.config, paths, print, resume=True)
    except MammoscopeError as err:
        sys.exit(f"{planned.name}: {err}")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
