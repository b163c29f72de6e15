"""``mammoscope dev robustness``: measure how scores react to changes of the image alone."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mammoscope.cli.arguments import HelpFormatter, add_labels, add_model, positive, read_labelled
from mammoscope.cli.evaluate import choose_split
from mammoscope.cli.output import require_folder, say, write_json
from mammoscope.data.dataset import ALL_SPLITS, SPLITS, Example
from mammoscope.evaluation.robustness import (
    ERASED,
    RANDOM_DRAWS,
    Robustness,
    Spread,
    summarise,
    try_examples,
)
from mammoscope.model.artifact.folder import load_artifact
from mammoscope.system.progress import phase, progress


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "robustness",
        help="measure how scores react to re-exported images, and test heat maps",
        description=(
            "Change each image of a split in ways that do not concern the patient, and predict it "
            "again. Print the median and 95th percentile of the change in probability. Then erase "
            f"the hottest {ERASED * 100:.0f} % of the heat map's cells and, for comparison, as "
            f"many random cells ({RANDOM_DRAWS} draws). Print the change in logit."
        ),
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--data", metavar="DIR", type=Path, required=True, help="the images")
    parser.add_argument(
        "--split",
        choices=(*SPLITS, ALL_SPLITS),
        help="split to measure, if DIR has splits (default: test, if it exists)",
    )
    add_model(parser)
    parser.add_argument(
        "--sample", metavar="N", type=positive, help="number of random images (default: all)"
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="seed of changes and draws"
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help="also write the results as JSON; - writes them to standard output instead of a table",
    )
    add_labels(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print the table and write the file; 0, or 2 if a split must be chosen.

    Raises
    ------
    DatasetError
        If the folder cannot be used, or every image in it was refused.
    ArtifactError
        If the model cannot be used.
    StorageError
        If the file cannot be written. A missing folder is reported first, other errors after the
        table.
    """
    require_folder(args.json)
    dataset = read_labelled(args.data, labels=args.labels)
    split = choose_split(dataset, args.split)
    if split is None:
        return 2
    examples = dataset.examples if split in ("", ALL_SPLITS) else dataset.split(split)
    examples = _sample(examples, args.sample, args.seed)
    artifact = load_artifact(args.model)

    from mammoscope.model.engine import load_engine

    with phase("load the model"):
        engine = load_engine(artifact)
    outcomes = try_examples(examples, engine, seed=args.seed)
    found = summarise(list(progress(outcomes, len(examples))))
    head = (
        f"{f'Split {split}: ' if split else ''}{found.images:,} images measured, "
        f"{found.refused:,} refused; model {engine.card.version}; seed {args.seed}"
    )
    say("\n".join([head, *describe(found)]), args.json)
    if args.json is not None:
        content = {"model_version": engine.card.version, "split": split or None, "seed": args.seed}
        write_json(args.json, {**content, **found.to_json()})
    return 0


def describe(found: Robustness) -> Iterator[str]:
    """Yield the measurements as lines of text."""
    yield ""
    yield f"{'Change of probability':28}{'median':>9}{'95th percentile':>17}{'refused':>9}"
    for name, spread in found.changes.items():
        yield f"  {name:26}{_cells(spread)}{spread.refused:9,}"
    yield ""
    yield f"{'Change of logit':28}{'median':>9}{'95th percentile':>17}"
    share = f"{ERASED * 100:.0f} %"
    yield f"  {f'hottest {share} erased':26}{_cells(found.hottest)}"
    yield f"  {f'random {share} erased':26}{_cells(found.random)}"
    yield "Hottest cells compared with each draw of random cells; chance is 0.5:"
    yield f"  larger change {found.larger}, lower logit {found.lower}"


def _cells(spread: Spread) -> str:
    if not spread.count:
        return f"{'–':>9}{'–':>17}"
    return f"{spread.median:9.4f}{spread.high:17.4f}"


def _sample(examples: tuple[Example, ...], count: int | None, seed: int) -> tuple[Example, ...]:
    if count is None or count >= len(examples):
        return examples
    drawn = np.random.default_rng(seed).choice(len(examples), count, replace=False)
    return tuple(examples[index] for index in sorted(drawn))
