"""``mammoscope evaluate``: evaluate a model on a folder of labelled mammograms."""

import argparse
import csv
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

from mammoscope.cli.arguments import DEFAULT_MODEL, add_labels, read_labelled
from mammoscope.cli.extras import require
from mammoscope.cli.output import require_folder, say, shown, write_json
from mammoscope.data.dataset import ALL_SPLITS, SPLITS, Dataset, require_both_classes
from mammoscope.data.scanner_groups import Appearance
from mammoscope.data.split_table import read_split
from mammoscope.errors import EmptyDatasetError, StorageError
from mammoscope.evaluation.evaluate import (
    RefusedExample,
    ScoredExample,
    assess,
    describe_examples,
    score_examples,
    with_shortcuts,
)
from mammoscope.evaluation.metrics.intervals import RESAMPLES
from mammoscope.evaluation.summary import describe
from mammoscope.model.artifact.card import Card
from mammoscope.model.artifact.folder import load_artifact
from mammoscope.settings.service import model_path
from mammoscope.system.files import replacing
from mammoscope.system.progress import phase, progress


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "evaluate",
        help="evaluate a model on a folder of labelled mammograms",
        description=(
            "Predict every image of a folder LABEL/FILE or SPLIT/LABEL/FILE and evaluate the model "
            "by image, breast and patient. Every measure has a 95 % interval from "
            f"{RESAMPLES:,} bootstrap resamples of patients."
        ),
    )
    parser.add_argument("--data", metavar="DIR", type=Path, required=True, help="the images")
    parser.add_argument(
        "--model",
        metavar="PATH",
        type=Path,
        help=f"model folder, or the .keras file inside it {DEFAULT_MODEL}",
    )
    parser.add_argument(
        "--metadata",
        metavar="CSV",
        type=Path,
        help="table with columns file, patient_id, ... (default: metadata.csv in DIR, if any)",
    )
    parser.add_argument(
        "--split",
        choices=(*SPLITS, ALL_SPLITS),
        help="split to evaluate, if DIR has splits (default: test, if it exists)",
    )
    parser.add_argument(
        "--run",
        metavar="RUN",
        type=Path,
        dest="training_run",
        help="evaluate on the test part in this training run's split.csv; also uses the run's "
        "model, unless --model is given",
    )
    parser.add_argument(
        "--shortcuts",
        action="store_true",
        help="also evaluate baselines from age, machine, site, brightness and crop alone, fitted "
        "to the images of other splits or, if there are none, in folds by patient",
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help="also write the results as JSON; - writes them to standard output instead of a table",
    )
    parser.add_argument("--scores", metavar="CSV", type=Path, help="also write each image's score")
    add_labels(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table and write the files; 0, or 2 if a split must be chosen.

    Raises
    ------
    DatasetError
        If the folder or its metadata cannot be used, or no image can be evaluated.
    ArtifactError
        If the model cannot be used.
    StorageError
        If a file cannot be written. A missing folder is reported first, other errors after the
        table.
    """
    if args.shortcuts:
        require("sklearn")
    for path in (args.json, args.scores):
        require_folder(path)
    dataset = read_labelled(args.data, args.metadata, args.labels)
    if args.training_run is not None:
        if args.split:
            print(
                "--split cannot be combined with --run, which defines the images.", file=sys.stderr
            )
            return 2
        dataset = restrict_to_test_part(dataset, args.training_run)
    split = choose_split(dataset, args.split)
    if split is None:
        return 2
    examples = dataset.examples if split in ("", ALL_SPLITS) else dataset.split(split)
    require_both_classes(examples, "evaluation")
    artifact = load_artifact(args.model or args.training_run or model_path())

    from mammoscope.model.engine import load_engine

    with phase("load the model"):
        engine = load_engine(artifact)
    with ScoresFile(args.scores, dataset.root, engine.card) as scores:
        outcomes = []
        bar = progress(score_examples(examples, engine), len(examples))
        for outcome in bar:
            outcomes.append(outcome)
            scores.add(outcome)
            if isinstance(outcome, RefusedExample):
                name = shown(outcome.example.path.relative_to(dataset.root))
                bar.write(f"refused {name}: {outcome.message} [{outcome.code}]", file=sys.stderr)
    with phase("compute the intervals"):
        assessment = assess(dataset, split, outcomes, engine.card)
    if args.shortcuts:
        others = _others(dataset, split)
        with phase("fit the shortcuts"):
            assessment = with_shortcuts(assessment, outcomes, others)
    say("\n".join(describe(assessment)), args.json)
    if args.json is not None:
        write_json(args.json, assessment.to_json())
    scores.require_complete()
    return 0


def _others(dataset: Dataset, split: str) -> list[Appearance]:
    """Read images of the other splits, for fitting shortcuts."""
    if split in ("", ALL_SPLITS):
        return []
    examples = [example for example in dataset.examples if example.split != split]
    bar = progress(describe_examples(examples), len(examples), "other splits")
    return [outcome for outcome in bar if isinstance(outcome, Appearance)]


def restrict_to_test_part(dataset: Dataset, run: Path) -> Dataset:
    """Keep the images of a training run's test part, as split ``test``.

    Raises
    ------
    DatasetError
        If the run has no readable split.csv, or the folder has none of its test images.
    """
    names = {row.file for row in read_split(run) if row.part == "test"}
    kept = tuple(
        replace(example, split="test") for example in dataset.examples if example.name in names
    )
    if not kept:
        raise EmptyDatasetError("The folder has no images of the training run's test part.")
    return replace(dataset, examples=kept)


def choose_split(dataset: Dataset, asked: str | None) -> str | None:
    """Return the split to evaluate: empty if the folder has none, None if the user must choose."""
    if not dataset.splits:
        if asked in (None, ALL_SPLITS):
            return ""
        print("The folder has no splits; run again without --split.", file=sys.stderr)
        return None
    wanted = asked or "test"
    if wanted in (*dataset.splits, ALL_SPLITS):
        return wanted
    print(
        f"The folder has no images in {wanted}; choose --split from "
        f"{', '.join((*dataset.splits, ALL_SPLITS))}.",
        file=sys.stderr,
    )
    return None


class ScoresFile:
    """The table of scores; a full disk does not stop the evaluation.

    The file gets its name when it is complete. After an error, an earlier file is unchanged.

    Parameters
    ----------
    path
        File to write; None writes nothing.
    root
        Folder to which file names are relative.
    card
        Source of the calibration.

    Raises
    ------
    StorageError
        If the file cannot be opened.
    """

    COLUMNS: Final = ("file", "label", "patient", "logit", "probability")

    def __init__(self, path: Path | None, root: Path, card: Card) -> None:
        self._root = root
        self._calibration = card.calibration
        self._failure: OSError | None = None
        self._stream: TextIO | None = None
        with ExitStack() as opened:
            if path is not None:
                try:
                    target = opened.enter_context(replacing(path))
                    self._stream = opened.enter_context(
                        target.open("w", newline="", encoding="utf-8", errors="surrogateescape")
                    )
                except OSError as err:
                    raise StorageError("The table of scores cannot be written.") from err
            self._opened = opened.pop_all()
        self._write(self.COLUMNS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None and self._failure is not None:
            kind, error, trace = type(self._failure), self._failure, self._failure.__traceback__
        try:
            self._opened.__exit__(kind, error, trace)
        except OSError as err:
            self._failure = err

    def add(self, outcome: ScoredExample | RefusedExample) -> None:
        """Write the row of a scored image at once; refused images have no row."""
        if isinstance(outcome, ScoredExample):
            example = outcome.example
            self._write(
                (
                    example.path.relative_to(self._root).as_posix(),
                    example.label,
                    example.patient_id,
                    outcome.logit,
                    self._calibration.probability(outcome.logit),
                )
            )

    def require_complete(self) -> None:
        """Raise an error if the file was not written.

        Raises
        ------
        StorageError
            If a row could not be written, or the file not renamed.
        """
        if self._failure:
            raise StorageError(
                "The table of scores was not written: no space left or no permission to write."
            ) from self._failure

    def _write(self, row: tuple[object, ...]) -> None:
        if self._stream is None or self._failure:
            return
        try:
            csv.writer(self._stream).writerow(row)
            self._stream.flush()
        except OSError as err:
            self._failure = err
