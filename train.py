"""Fine-tune a network on a folder of mammograms; see README, "Train"."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from mammoscope.errors import MammoscopeError
from mammoscope.settings import (
    AugmentationName,
    BackboneName,
    HeadName,
    HeadStartName,
    PrecisionName,
    PresetName,
    ScheduleName,
    SplitName,
    TrainConfig,
)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH in pixels, as in 384x288")
    return int(height), int(width)


def parser() -> argparse.ArgumentParser:
    """Options of the command; those left out keep the preset's value."""
    made = argparse.ArgumentParser(description=__doc__, argument_default=argparse.SUPPRESS)
    place = made.add_argument_group("where")
    place.add_argument("--data", type=Path, required=True, help="folder of mammograms")
    place.add_argument("--output", type=Path, required=True, help="folder of the run")
    place.add_argument("--metadata", type=Path, help="CSV; default: metadata.csv in the data")
    place.add_argument("--cache", type=Path, help="preprocessed images; default: cache in the run")
    place.add_argument("--resume", action="store_true", help="continue a run that was stopped")
    place.add_argument("--preset", choices=get_args(PresetName), default="default")
    how = made.add_argument_group("what the preset may be changed in")
    how.add_argument("--backbone", choices=get_args(BackboneName))
    how.add_argument("--weights", help="imagenet, none, or a file: .weights.h5 or .keras")
    how.add_argument("--input-size", type=_size, metavar="HxW")
    how.add_argument("--crop", action=argparse.BooleanOptionalAction)
    how.add_argument(
        "--smoothing", type=int, metavar="TIMES", help="averages of 2 x 2 pixels before all"
    )
    how.add_argument("--batch-size", type=int)
    how.add_argument("--drop-rate", type=float)
    how.add_argument("--learning-rate", type=float)
    how.add_argument("--schedule", choices=get_args(ScheduleName))
    how.add_argument("--epochs", type=int)
    how.add_argument("--stop-after", type=int, metavar="EPOCH")
    how.add_argument("--head-epochs", type=int)
    how.add_argument("--head-start", choices=get_args(HeadStartName))
    how.add_argument("--head", choices=get_args(HeadName))
    how.add_argument("--trainable-from", help="layer of the backbone, auto, all or none")
    how.add_argument("--augmentation", choices=get_args(AugmentationName))
    how.add_argument("--head-learns", action=argparse.BooleanOptionalAction)
    how.add_argument("--label-smoothing", type=float)
    how.add_argument("--ema-momentum", type=float)
    how.add_argument("--teachers", nargs="+", metavar="RUN", help="runs whose answer is learned")
    how.add_argument("--teacher-share", type=float, metavar="SHARE", help="the rest is the label's")
    how.add_argument("--auxiliary", action=argparse.BooleanOptionalAction)
    how.add_argument("--precision", choices=get_args(PrecisionName))
    how.add_argument("--split", choices=get_args(SplitName))
    how.add_argument("--validation-fraction", type=float)
    how.add_argument("--folds", type=int)
    how.add_argument("--seed", type=int)
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = vars(parser().parse_args(arguments))
    data, output = options.pop("data"), options.pop("output")
    metadata, cache = options.pop("metadata", None), options.pop("cache", output / "cache")
    preset, resume = options.pop("preset"), options.pop("resume", False)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        config = TrainConfig.from_preset(preset, options)
        with _quiet_native_start():
            from mammoscope.training.run import RunPaths, train

        train(config, RunPaths(data, output, cache, metadata), print, resume=resume)
    except ModuleNotFoundError as err:
        print(f"train.py: training needs the package {err.name}; see Pipfile.", file=sys.stderr)
        return 1
    except MammoscopeError as err:
        print(f"train.py: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Whole epochs are kept: continue with --resume.", file=sys.stderr)
        return 130
    print(f"The model is in {output}.")
    return 0


@contextmanager
def _quiet_native_start() -> Iterator[None]:
    """Silence what TensorFlow's libraries say of themselves before their log levels work."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


if __name__ == "__main__":
    sys.exit(main())
