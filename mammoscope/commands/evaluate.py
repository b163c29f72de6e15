"""``python -m mammoscope evaluate``: measure a model on a folder of labelled mammograms."""

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

from tqdm import tqdm

from mammoscope.artifact import load_artifact
from mammoscope.dataset import SPLITS, Dataset, read_dataset, require_both_classes
from mammoscope.errors import EmptyDatasetError, MetadataError, StorageError
from mammoscope.evaluation import (
    Assessment,
    RefusedExample,
    ScoredExample,
    Scorer,
    assess,
    score_examples,
)
from mammoscope.metrics import MIN_PER_CLASS, RESAMPLES, Interval
from mammoscope.settings import ServiceSettings

ALL_SPLITS: Final = "all"

_TITLES: Final = {
    "auc": "AUC",
    "auprc": "AUPRC",
    "accuracy": "accuracy",
    "majority": "majority class",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity_at_specificity_90": "sensitivity at specificity 0.90",
    "sensitivity_at_specificity_95": "sensitivity at specificity 0.95",
    "specificity_at_sensitivity_90": "specificity at sensitivity 0.90",
    "brier": "Brier score",
    "log_loss": "log-loss",
    "ece": "expected calibration error",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a model on a folder of labelled mammograms",
        description=(
            "Score every picture of a folder LABEL/FILE or SPLIT/LABEL/FILE and measure the model "
            "by picture, breast and patient, each figure with a 95 %% interval from "
            f"{RESAMPLES:,} resamples of patients."
        ),
    )
    parser.add_argument("--data", metavar="DIR", type=Path, required=True, help="the pictures")
    parser.add_argument(
        "--model",
        metavar="PATH",
        type=Path,
        help="model folder, or a .keras file; "
        f"default: {ServiceSettings.model_fields['model'].default}",
    )
    parser.add_argument(
        "--metadata",
        metavar="CSV",
        type=Path,
        help="table with columns file, patient_id, ...; metadata.csv in DIR is found by itself",
    )
    parser.add_argument(
        "--split",
        choices=(*SPLITS, ALL_SPLITS),
        help="split to evaluate where DIR has splits; test if there is one",
    )
    parser.add_argument(
        "--run",
        metavar="RUN",
        type=Path,
        dest="training_run",
        help="evaluate on the test part that this training run set aside in its split.csv; "
        "--model is its model then, unless given",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures as JSON too")
    parser.add_argument("--scores", metavar="CSV", type=Path, help="write each picture's score too")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table and write the files; 0, or 2 if the split has to be named.

    Raises
    ------
    DatasetError
        If the folder or its metadata cannot be used, or nothing in it can be measured.
    ArtifactError
        If the model cannot be used.
    StorageError
        If a file cannot be written; the table is out by then unless its folder is missing.
    """
    for path in (args.json, args.scores):
        if path is not None and not path.parent.is_dir():
            raise StorageError("The folder of a file to write does not exist.")
    dataset = read_dataset(args.data, args.metadata)
    if args.training_run is not None:
        if args.split:
            print("--run names the pictures; leave --split out.", file=sys.stderr)
            return 2
        dataset = restrict_to_test_part(dataset, args.training_run)
    split = ALL_SPLITS if args.training_run is not None else choose_split(dataset, args.split)
    if split is None:
        return 2
    examples = dataset.examples if split in ("", ALL_SPLITS) else dataset.split(split)
    require_both_classes(examples, "evaluation")
    default: Path = args.training_run or ServiceSettings.model_fields["model"].default
    artifact = load_artifact(args.model or default)

    from mammoscope.engine import load_engine

    scorer: Scorer = load_engine(artifact)
    with ScoresFile(args.scores, dataset.root, scorer) as scores:
        outcomes = []
        bar = tqdm(
            score_examples(examples, scorer),
            total=len(examples),
            unit="picture",
            file=sys.stderr,
            disable=None,
            leave=False,
        )
        for outcome in bar:
            outcomes.append(outcome)
            scores.add(outcome)
            if isinstance(outcome, RefusedExample):
                name = shown(outcome.example.path.relative_to(dataset.root))
                bar.write(f"refused {name}: {outcome.message} [{outcome.code}]", file=sys.stderr)
    assessment = assess(dataset, split, outcomes, scorer.card)
    print("\n".join(describe(assessment)), flush=True)
    if args.json is not None:
        write_json(args.json, assessment.to_json())
    scores.require_complete()
    return 0


def restrict_to_test_part(dataset: Dataset, run: Path) -> Dataset:
    """Keep the pictures that a training run set aside as test part.

    Raises
    ------
    DatasetError
        If the run has no readable split.csv, or none of its test pictures is in the folder.
    """
    try:
        with (run / "split.csv").open(newline="", encoding="utf-8") as stream:
            names = {row["file"] for row in csv.DictReader(stream) if row["part"] == "test"}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as err:
        raise MetadataError("The training run has no readable split.csv.") from err
    kept = tuple(example for example in dataset.examples if example.path.name in names)
    if not kept:
        raise EmptyDatasetError("The folder holds no picture of the training run's test part.")
    return replace(dataset, examples=kept)


def choose_split(dataset: Dataset, asked: str | None) -> str | None:
    """Name the split to evaluate: empty where the folder has none, None if it must be asked for."""
    if not dataset.splits:
        if asked in (None, ALL_SPLITS):
            return ""
        print("The folder has no splits; leave --split out.", file=sys.stderr)
        return None
    wanted = asked or "test"
    if wanted in (*dataset.splits, ALL_SPLITS):
        return wanted
    print(
        f"The folder has no pictures in {wanted}; say --split with one of "
        f"{', '.join((*dataset.splits, ALL_SPLITS))}.",
        file=sys.stderr,
    )
    return None


class ScoresFile:
    """The table of scores, written picture by picture; a full disk does not stop the evaluation.

    Parameters
    ----------
    path
        Where to; None writes nothing.
    root
        Folder that file names are relative to.
    scorer
        Knows the calibration.

    Raises
    ------
    StorageError
        If the file cannot be opened.
    """

    COLUMNS: Final = ("file", "label", "patient", "logit", "probability")

    def __init__(self, path: Path | None, root: Path, scorer: Scorer) -> None:
        self._root = root
        self._calibration = scorer.card.calibration
        self._failure: OSError | None = None
        try:
            self._stream = (
                path.open("w", newline="", encoding="utf-8", errors="surrogateescape")
                if path
                else None
            )
        except OSError as err:
            raise StorageError("The table of scores cannot be written.") from err
        self._write(self.COLUMNS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._stream:
                self._stream.close()
        except OSError as err:
            self._failure = err

    def add(self, outcome: ScoredExample | RefusedExample) -> None:
        """Write the row of a scored picture at once; refused ones have none."""
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
        """Say that rows are missing.

        Raises
        ------
        StorageError
            If a row could not be written.
        """
        if self._failure:
            raise StorageError(
                "The table of scores is incomplete: no space or no permission to write."
            ) from self._failure

    def _write(self, row: tuple[object, ...]) -> None:
        if self._stream is None or self._failure:
            return
        try:
            csv.writer(self._stream).writerow(row)
            self._stream.flush()
        except OSError as err:
            self._failure = err


def describe(assessment: Assessment) -> Iterator[str]:
    """The evaluation as lines that a person understands."""
    found = assessment.evaluation
    split = f"Split {assessment.split}: " if assessment.split else ""
    yield (
        f"{split}{found.images:,} pictures, {found.positives:,} with tumour, of "
        f"{found.breasts:,} breasts and {found.patients:,} patients; "
        f"model {assessment.model_version}"
    )
    if assessment.refused:
        codes = ", ".join(f"{code} ({count:,})" for code, count in assessment.refused.items())
        yield f"Not judged and left out: {sum(assessment.refused.values()):,} pictures: {codes}"
    yield from _warnings(assessment)
    yield ""
    yield f"{'':34}{'by picture':21}{'by breast':21}by patient"
    for name, title in _TITLES.items():
        cells = (level[name] for level in (found.image, found.breast, found.patient))
        yield f"  {title:32}{' '.join(f'{text(cell):20}' for cell in cells)}".rstrip()
    by = "patients" if assessment.patients_known else "pictures, their patients not being known"
    yield f"In brackets: 95 % interval from {RESAMPLES:,} resamples of {by}."
    yield f"Accuracies at probability {found.threshold:g}."
    if found.operating_points:
        yield ""
        yield f"{'Operating point':22}{'from':8}{'sensitivity':21}specificity"
        for name, point in found.operating_points.items():
            yield (
                f"  {name:20}{point.threshold:<8.3f}{text(point.sensitivity):21}"
                f"{text(point.specificity)}"
            )
    yield from _describe_groups(assessment)


def _warnings(assessment: Assessment) -> Iterator[str]:
    if assessment.leaky_training:
        yield (
            "LEAKY: the model was trained on a published split whose test folder shares its "
            "patients; for like-for-like comparison only."
        )
    if assessment.shared_patients:
        yield (
            f"LEAK: {assessment.shared_patients:,} patients of this split stand in another split "
            "of the folder too; a model trained there knows them."
        )
    if not assessment.patients_known:
        yield (
            "The patients of some pictures are not known; each such picture counts as a patient "
            "of its own. Intervals may be too narrow and leakage cannot be excluded; give the "
            "patients with --metadata."
        )


def _describe_groups(assessment: Assessment) -> Iterator[str]:
    yield ""
    yield f"{'AUC within':22}{'pictures':>9}{'tumour':>8}  by picture"
    for fact, groups in assessment.evaluation.groups.items():
        for value, group in groups.items():
            area = text(group.auc) if group.auc else f"under {MIN_PER_CLASS} of a class"
            yield f"  {f'{fact} {value}':20}{group.images:9,}{group.positives:8,}  {area}"
    within = assessment.evaluation.within.get("machine")
    if within:
        yield f"Mean within machines that have an AUC: {text(within)}"


def text(interval: Interval) -> str:
    """A value with its interval, three digits each; a dash for what is undefined."""
    numbers = interval.to_json()
    value, low, high = (
        "–" if numbers[name] is None else f"{numbers[name]:.3f}"
        for name in ("value", "low", "high")
    )
    return f"{value} ({low}–{high})" if numbers["low"] is not None else value


def shown(path: Path) -> str:
    """A path as it can be printed: bytes that are no text and control characters replaced."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(path)
    )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, whole or not at all.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    # Pipes and devices are written as they are; files whole or not at all.
    is_file = path.is_file() or not path.exists()
    target = path.with_name(f".{path.name}.partial") if is_file else path
    try:
        target.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        if is_file:
            target.replace(path)
    except OSError as err:
        if is_file:
            target.unlink(missing_ok=True)
        raise StorageError(
            "The JSON file could not be written: no permission or no space."
        ) from err
