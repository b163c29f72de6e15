"""Train the runs of a recipe file, one after another or side by side on a Ray cluster.

Train each run of a recipe file in a separate process, and copy its record. Finished runs are
skipped and stopped runs are continued, so the command can be run again at any time. If a run fails,
it is reported, runs that need it fail too, and the others continue.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, get_args

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
_LOST_MACHINES: Final = 3
"""How often a run is continued on another machine."""


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
        help="folder of images; repeat for each data set of the runs: folders, lesions",
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
        "--address",
        metavar="HOST:PORT",
        help="train the runs side by side on a running Ray cluster, or auto for that of this "
        "machine; folders are shared",
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
        If the recipe file cannot be used or has no run that matches ``--only``, the folder of a
        run's data is missing, or no cluster answers.
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
    if args.address is None:
        require("tensorflow")
        failed = [each.name for each in planned if not _finish(each, folders, args)]
    else:
        failed = _finish_on_cluster(planned, args)
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


def _finish_on_cluster(planned: Sequence[PlannedRun], args: argparse.Namespace) -> list[str]:
    """Finish each run on a machine of the cluster; return the names of those that failed."""
    require("ray")
    import ray

    from mammoscope.bulk.cluster import on_ray

    with on_ray(args.address):
        task = ray.remote(**_claim(ray.nodes()), max_retries=_LOST_MACHINES)(_command)
        runs: dict[str, Any] = {}
        for each in planned:
            # A run that is not waited for is finished, or its failure is the command's answer.
            needed = [runs[name] for name in each.needs if name in runs]
            runs[each.name] = task.remote(_words(each, args), *needed)
        names = {run: name for name, run in runs.items()}
        failed = []
        while names:
            (run,), _ = ray.wait(list(names))
            name = names.pop(run)
            status, printed, errors = ray.get(run)
            print(printed, end="", flush=True)
            print(errors, end="", file=sys.stderr)
            if status:
                failed.append(name)
    return [each.name for each in planned if each.name in failed]


def _claim(nodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return what a run claims: all processors of a machine, or a GPU and its share of them."""
    sizes = [each["Resources"] for each in nodes if each["Alive"] and "CPU" in each["Resources"]]
    gpus = [each for each in sizes if "GPU" in each]
    cpus = min((each["CPU"] / each.get("GPU", 1) for each in gpus or sizes), default=1)
    return {"num_cpus": cpus, "num_gpus": int(bool(gpus))}


def _words(planned: PlannedRun, args: argparse.Namespace) -> list[str]:
    """Return the words of the command that finishes one run, with paths for any folder."""
    options = {name: getattr(args, name) for name in ("runs", "records", "imagenet", "folds")}
    return [
        *("dev", "trainings", str(args.plan.absolute()), "--only", planned.name),
        *(f"--data={name}={folder.absolute()}" for name, folder in args.data),
        *(f"--{name}={path.absolute()}" for name, path in options.items() if path is not None),
    ]


def _command(words: Sequence[str], *_: object) -> tuple[int, str, str]:
    """Run a command on a machine of the cluster; return its status, output and errors."""
    ended = subprocess.run(  # noqa: S603 this package's own command
        [sys.executable, "-m", "mammoscope", *words], capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stdout, ended.stderr


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
