"""Compare two runs on the same patients, fold by fold.

Print means over the folds of both runs: AUC by image (the primary endpoint), by breast, within
machines and in subgroups. With several folds, also print the calibration error and operating
points, which are fitted for each fold to the other folds. Each line has both runs and the second
minus the first, with its standard error and 95 % interval by patient. Scores of different folds are
never pooled. RUN+RUN is the mean of the log-odds of two runs, each calibrated on the other folds.
RUN,RUN is a recipe that was trained with two seeds: measures are averaged, and their intervals
include the noise of training.
"""

import argparse
from itertools import islice
from pathlib import Path
from typing import Final

from mammoscope.cli.arguments import Subparsers, add_command, add_labels, read_labelled
from mammoscope.cli.output import require_folder, say, write_json
from mammoscope.errors import UsageError
from mammoscope.evaluation.out_of_fold import (
    FoldScores,
    add_age,
    average_runs,
    calibrate_folds,
    folds_in_common,
    read_fold_scores,
)
from mammoscope.evaluation.paired import compare_folds, groups_of
from mammoscope.model.artifact.folder import sha256_of

_AND: Final = "+"
_SEEDS: Final = ","


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
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help="also write the results as JSON; - writes them to standard output instead of a table",
    )


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
    StorageError
        If the file cannot be written.
    """
    require_folder(args.json)
    if args.age and not args.data:
        raise UsageError("--age needs --data, whose table has the ages.")
    sides = [
        [[Path(name) for name in mean.split(_AND)] for mean in side.split(_SEEDS)]
        for side in (args.first, args.second)
    ]
    wanted = {f"fold-{number}" for number in args.folds or ()}
    scores = [read_fold_scores(run) for side in sides for mean in side for run in mean]
    kept = folds_in_common(
        [[fold for fold in each if not wanted or fold.name in wanted] for each in scores]
    )
    examples = read_labelled(args.data, labels=args.labels).examples if args.data else ()
    facts = {sha256_of(example.path): example.facts for example in examples}

    def answers(runs: list[list[FoldScores]]) -> list[FoldScores]:
        mean = average_runs(runs)
        if args.age:
            mean = add_age(mean, facts)
        return calibrate_folds(mean) if len(mean) > 1 else mean

    remaining = iter(kept)
    first, second = (
        [answers(list(islice(remaining, len(mean)))) for mean in side] for side in sides
    )
    names = [_SEEDS.join(_AND.join(run.name for run in mean) for mean in side) for side in sides]
    folds = [fold.name for fold in first[0]]
    found = compare_folds(first, second, groups_of(first[0], facts))
    lines = [
        f"{', '.join(folds)}: {names[1]} less {names[0]}{', both with age' if args.age else ''}",
        f"{'':30}{'first':>8}{'second':>8}{'less':>9}{'error':>8}   95 % interval",
    ]
    for name, each in found.items():
        lines.append(
            f"{name:30}{each.first.value:>8.3f}{each.second.value:>8.3f}"
            f"{each.difference.value:>+9.3f}{each.error:>8.3f}"
            f"   {each.difference.low:+.3f} to {each.difference.high:+.3f}"
        )
    say("\n".join(lines), args.json)
    if args.json is not None:
        write_json(
            args.json,
            {
                "first": names[0],
                "second": names[1],
                "folds": folds,
                "with_age": args.age,
                "measures": {name: each.to_json() for name, each in found.items()},
            },
        )
    return 0
