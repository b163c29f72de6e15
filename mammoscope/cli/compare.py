"""Compare two runs on the same patients, fold by fold.

Print means over the folds of both runs: AUC by image (the primary endpoint), by breast, within
machines and in subgroups. With several folds, also print the calibration error and operating
points, which are fitted for each fold to the other folds. Each line has both runs and the second
minus the first, with its standard error and 95 % interval by patient. Scores of different folds are
never pooled. RUN+RUN is the mean of the log-odds of two runs, each calibrated on the other folds.
"""

import argparse
from pathlib import Path
from typing import Final

from mammoscope.cli.arguments import Subparsers, add_command, add_labels, read_labelled
from mammoscope.errors import UsageError
from mammoscope.evaluation.out_of_fold import (
    add_age,
    average_runs,
    calibrate_folds,
    folds_in_common,
    read_fold_scores,
)
from mammoscope.evaluation.paired import compare_folds, groups_of
from mammoscope.model.artifact.folder import sha256_of

_AND: Final = "+"


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = add_command(subparsers, __name__, run)
    parser.add_argument("first", metavar="RUN", help="record of a run: a folder with fold-*")
    parser.add_argument("second", metavar="RUN", help="another")
    parser.add_argument(
        "--data", metavar="DIR", type=Path, help="the images, for machines, subgroups and age"
    )
    add_labels(parser)
    parser.add_argument("--folds", metavar="K", type=int, nargs="+", help="use only these folds")
    parser.add_argument("--age", action="store_true", help="add the woman's age to both runs")


def run(args: argparse.Namespace) -> int:
    """Print a line for each measure; return 0.

    Raises
    ------
    UsageError
        If ``--age`` is given without ``--data``.
    RunError
        If the runs have no common fold, are damaged or have different images.
    DatasetError
        If the images cannot be listed.
    """
    if args.age and not args.data:
        raise UsageError("--age needs --data, whose table has the ages.")
    sides = [[Path(name) for name in side.split(_AND)] for side in (args.first, args.second)]
    wanted = {f"fold-{number}" for number in args.folds or ()}
    scores = [read_fold_scores(folder) for side in sides for folder in side]
    runs = folds_in_common(
        [[fold for fold in each if not wanted or fold.name in wanted] for each in scores]
    )
    examples = read_labelled(args.data, labels=args.labels).examples if args.data else ()
    facts = {sha256_of(example.path): example.facts for example in examples}
    pair = [average_runs(runs[: len(sides[0])]), average_runs(runs[len(sides[0]) :])]
    if args.age:
        pair = [add_age(each, facts) for each in pair]
    if len(pair[0]) > 1:
        pair = [calibrate_folds(each) for each in pair]
    first, second = pair
    names = [_AND.join(folder.name for folder in side) for side in sides]
    folds = ", ".join(fold.name for fold in first)
    print(f"{folds}: {names[1]} less {names[0]}{', both with age' if args.age else ''}")
    print(f"{'':30}{'first':>8}{'second':>8}{'less':>9}{'error':>8}   95 % interval")
    for name, found in compare_folds(first, second, groups_of(first, facts)).items():
        print(
            f"{name:30}{found.first:>8.3f}{found.second:>8.3f}{found.difference:>+9.3f}"
            f"{found.error:>8.3f}   {found.low:+.3f} to {found.high:+.3f}"
        )
    return 0
