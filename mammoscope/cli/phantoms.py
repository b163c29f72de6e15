"""Write synthetic mammograms.

Write synthetic mammograms of both classes and both views into a folder, for tests and trials.
"""

import argparse
import sys
from pathlib import Path

from mammoscope.cli.arguments import Subparsers, add_command
from mammoscope.errors import ConfigurationError, StorageError, UsageError
from mammoscope.phantoms.dicom import SYNTAXES, Encoding, write_phantom_study
from mammoscope.phantoms.drawing import write_phantom_dataset, write_phantoms


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = add_command(subparsers, __name__, run)
    parser.add_argument("folder", metavar="DIR", type=Path, help="output folder")
    parser.add_argument(
        "--count",
        metavar="N",
        type=int,
        default=6,
        help="number of images; with --dataset, patients",
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="random seed")
    parser.add_argument(
        "--dataset",
        action="store_true",
        help="write the Kaggle layout SPLIT/LABEL/FILE.jpg and metadata.csv into an empty folder",
    )
    parser.add_argument(
        "--studies",
        action="store_true",
        help="write DICOM objects: four views for each of --count patients",
    )
    parser.add_argument("--exams", action="store_true", help=argparse.SUPPRESS)  # deprecated
    parser.add_argument(
        "--syntax", choices=SYNTAXES, default="explicit", help="with --studies: transfer syntax"
    )


def run(args: argparse.Namespace) -> int:
    """Write the phantoms and say what was written; 0.

    Raises
    ------
    ConfigurationError
        If a number is out of range, or the folder for a data set is not empty.
    StorageError
        If a file cannot be written.
    """
    folder: Path = args.folder
    try:
        taken = folder.exists() and not folder.is_dir()
        filled = folder.is_dir() and any(folder.iterdir())
    except OSError as err:
        raise StorageError("The folder to write to cannot be listed.") from err
    if taken:
        raise ConfigurationError("The output path is a file; give a folder.")
    if args.exams:
        print("mammoscope: --exams is deprecated; use --studies.", file=sys.stderr)
    if args.studies or args.exams:
        return _write_studies(args)
    if not args.dataset:
        for path in write_phantoms(folder, args.count, args.seed):
            print(path)
        return 0
    if filled:
        raise ConfigurationError("The folder for the data set must be empty.")
    paths = write_phantom_dataset(folder, patients=args.count, seed=args.seed, metadata=True)
    print(f"{len(paths)} images of {args.count} patients and metadata.csv written to {folder}")
    return 0


def _write_studies(args: argparse.Namespace) -> int:
    bits = SYNTAXES[args.syntax].bits
    encoding = Encoding(args.syntax, bits=12 if 12 in bits else bits[-1])
    if args.count < 1 or args.seed < 0 or args.dataset:
        raise UsageError(
            "--studies needs a --count of at least 1 and a --seed of at least 0, and cannot be "
            "combined with --dataset."
        )
    for seed in range(args.seed, args.seed + args.count):
        tumour = (seed - args.seed) % 2 == 0
        for path in write_phantom_study(args.folder, seed=seed, encoding=encoding, tumour=tumour):
            print(path)
    return 0
