"""``mammoscope train``: train a model on a folder of mammograms."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, get_args

from mammoscope.cli.arguments import add_labels, positive
from mammoscope.cli.extras import require
from mammoscope.data.dataset import require_both_classes
from mammoscope.errors import ConfigurationError, UsageError
from mammoscope.settings.training import (
    AugmentationName,
    BackboneName,
    HeadName,
    PrecisionName,
    PresetName,
    ScheduleName,
    SplitName,
    TrainConfig,
)
from mammoscope.system.interrupts import EXIT_INTERRUPTED, quitting_on_ctrl_c
from mammoscope.system.listening import parse_bind
from mammoscope.system.progress import phase
from mammoscope.training.processes import EXIT_LOST, Place, on_this_machine, run_together
from mammoscope.training.run_folder import RunPaths, check_run, has_epochs

_PACKAGES: Final = ("sklearn", "matplotlib")
"""Packages that training needs besides those of the service, and TensorFlow or JAX."""


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH in pixels, as in 384x288")
    return int(height), int(width)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command; options left out keep the preset's value."""
    parser = subparsers.add_parser(
        "train",
        help="train a model on a folder of mammograms",
        description=(
            "Fine-tune a network on a folder of mammograms, calibrate it on validation patients, "
            "and write the model with a record of the run. Ctrl-C stops it; --resume continues."
        ),
        argument_default=argparse.SUPPRESS,
    )
    folders = parser.add_argument_group("folders")
    folders.add_argument("--data", metavar="DIR", type=Path, required=True, help="the images")
    folders.add_argument("--output", metavar="RUN", type=Path, required=True, help="output folder")
    folders.add_argument(
        "--metadata", metavar="CSV", type=Path, help="default: metadata.csv in DIR, if it exists"
    )
    add_labels(folders)
    folders.add_argument(
        "--cache", metavar="DIR", type=Path, help="cache of preprocessed images; default: RUN/cache"
    )
    folders.add_argument("--resume", action="store_true", help="continue a stopped run")
    _add_processes(parser.add_argument_group("several processes, on JAX"))
    _add_settings(parser.add_argument_group("preset, and changes to it"))
    parser.set_defaults(run=run)


def _add_processes(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--processes", type=positive, metavar="N", help="divide each batch among N processes"
    )
    group.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="where process 0 listens, if they are on several machines",
    )
    group.add_argument(
        "--process",
        type=int,
        metavar="I",
        help="number of this process, from 0, with --coordinator",
    )


def _add_settings(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--preset", choices=get_args(PresetName), default="default")
    group.add_argument("--backbone", choices=get_args(BackboneName))
    group.add_argument(
        "--weights", help="initial weights: imagenet, none, or a .weights.h5 or .keras file"
    )
    group.add_argument("--input-size", type=_size, metavar="HxW", help="in pixels, as in 299x299")
    group.add_argument("--crop", action=argparse.BooleanOptionalAction, help="crop to the breast")
    group.add_argument(
        "--smoothing", type=int, metavar="TIMES", help="number of low passes before the first layer"
    )
    group.add_argument("--batch-size", type=int, help="images per step")
    group.add_argument("--drop-rate", type=float, help="share of features dropped per step")
    group.add_argument("--learning-rate", type=float, help="peak of the schedule")
    group.add_argument("--schedule", choices=get_args(ScheduleName))
    group.add_argument("--epochs", type=int, help="epochs of the whole network")
    group.add_argument(
        "--stop-after", type=int, metavar="EPOCH", help="end the run after this epoch"
    )
    group.add_argument(
        "--head-epochs", type=int, help="epochs of the head alone, before the others"
    )
    group.add_argument("--head", choices=get_args(HeadName))
    group.add_argument(
        "--trainable-from",
        help="backbone layer after which layers are trained; or auto, all, none",
    )
    group.add_argument("--augmentation", choices=get_args(AugmentationName))
    group.add_argument("--label-smoothing", type=float)
    group.add_argument(
        "--ema-momentum", type=float, help="momentum of the weights' average; 0: off"
    )
    group.add_argument("--teachers", nargs="+", metavar="RUN", help="training runs to distil from")
    group.add_argument(
        "--teacher-share", type=float, metavar="SHARE", help="weight of the teachers' prediction"
    )
    group.add_argument("--precision", choices=get_args(PrecisionName))
    group.add_argument(
        "--split", choices=get_args(SplitName), help="divide by patient, or as published"
    )
    group.add_argument("--validation-fraction", type=float, help="share of patients for validation")
    group.add_argument("--seed", type=int)


def run(args: argparse.Namespace) -> int:
    """Check everything that does not need TensorFlow, then train.

    Returns 0, 130 if interrupted, or 75 if one of several processes was lost.

    Raises
    ------
    UsageError
        If an option has an invalid value.
    ConfigurationError, DatasetError, RunError
        If weights are unavailable, the images cannot be used or the run cannot be continued.
    StorageError
        If something cannot be written.
    """
    options = vars(args)
    del options["run"]
    data, output = options.pop("data"), options.pop("output")
    metadata, cache = options.pop("metadata", None), options.pop("cache", output / "cache")
    preset, resume = options.pop("preset"), options.pop("resume", False)
    count = options.pop("processes", None)
    places = _places(count, options.pop("coordinator", None), options.pop("process", None))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        config = TrainConfig.from_preset(preset, options)
    except ConfigurationError as err:
        raise UsageError(str(err)) from err
    if places and config.batch_size % count:
        raise UsageError(
            f"The batch size {config.batch_size} cannot be divided among {count} processes; give a "
            "multiple with --batch-size."
        )
    require("jax" if places else "tensorflow")
    _check(config, data, metadata)
    check_run(config, output, resume=resume)
    work = partial(_train, config, RunPaths(data, output, cache, metadata), resume=resume)
    lost = None
    try:
        if places:
            lost = run_together(places, work)
        else:
            work(None)
    except KeyboardInterrupt:
        left = (
            "Completed epochs are kept; continue with --resume."
            if has_epochs(output)
            else "No epoch was completed; run the same command to start again."
        )
        print(f"\nStopped. {left}", file=sys.stderr)
        return EXIT_INTERRUPTED
    if lost is not None:
        print(f"{lost} Completed epochs are kept; continue with --resume.", file=sys.stderr)
        return EXIT_LOST
    if not places or places[0].leads:
        print(f"The model is in {output}.")
    return 0


def _places(count: int | None, coordinator: str | None, number: int | None) -> list[Place]:
    """Return the places of this machine's processes; none to train in this process."""
    if coordinator is None and number is None:
        return on_this_machine(count) if count else []
    if count is None or coordinator is None or number is None:
        raise UsageError("--coordinator, --process and --processes must be given together.")
    try:
        _, port = parse_bind(coordinator)
    except ValueError:
        port = 0
    if port == 0:
        raise UsageError("--coordinator must be HOST:PORT, as in 10.0.0.1:9700.")
    if not 0 <= number < count:
        raise UsageError(f"--process must be 0 to {count - 1}, since --processes is {count}.")
    return [Place(number, count, coordinator)]


def _train(config: TrainConfig, paths: RunPaths, place: Place | None, *, resume: bool) -> None:
    """Train, in this process or one of several."""
    backend = "JAX" if place else "TensorFlow"
    with phase(f"start {backend}"), _quiet_native_start(), quitting_on_ctrl_c():
        from mammoscope.training.training_run import train
    train(config, paths, partial(print, flush=True), resume=resume, place=place)


def _check(config: TrainConfig, data: Path, metadata: Path | None) -> None:
    """Refuse a folder that cannot be trained on, and a machine without the packages."""
    for package in _PACKAGES:
        require(package)
    from mammoscope.training.division import read_examples  # imports scikit-learn

    require_both_classes(read_examples(config, data, metadata).examples, "training")


@contextmanager
def _quiet_native_start() -> Iterator[None]:
    """Discard what TensorFlow's libraries print before their log levels take effect."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
