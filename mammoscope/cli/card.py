"""Add measured results to a model's card, and render the card as Markdown.

Add the results of evaluate, robustness and dev compare to card.json, and write MODEL_CARD.md from
it. Results that are not given do not change.
"""

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

from mammoscope.cli.arguments import (
    Subparsers,
    add_command,
    add_labels,
    add_model_to_change,
    read_labelled,
)
from mammoscope.errors import ArtifactMismatchError, ArtifactNotFoundError, StorageError
from mammoscope.evaluation.aggregation import read_scores, with_aggregation
from mammoscope.evaluation.card_curves import read_ages, with_curves
from mammoscope.model.artifact.card import Card
from mammoscope.model.artifact.folder import CARD_NAME, load_artifact, write_card
from mammoscope.reports.modelcard import MODEL_CARD_NAME, render
from mammoscope.system.files import replacing


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = add_command(subparsers, __name__, run)
    add_model_to_change(parser)
    parser.add_argument(
        "--validation-scores",
        metavar="CSV",
        type=Path,
        help="scores of the model's run: fit calibration and thresholds by breast and patient; "
        "includes --curves",
    )
    parser.add_argument(
        "--curves",
        metavar="CSV",
        type=Path,
        help="scores of the model's run: store ROC, reliability and decision curve, and the "
        "covariance of the calibrations",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        help="the run's images, for the covariance of the calibration with age; with --curves",
    )
    add_labels(parser)
    parser.add_argument("--test", metavar="JSON", type=Path, help="result of evaluate --json")
    parser.add_argument(
        "--robustness", metavar="JSON", type=Path, help="result of robustness --json"
    )
    # The lists are not the options' defaults, because the help would show them.
    parser.set_defaults(external=[], folds=[])
    parser.add_argument(
        "--external",
        metavar="NAME=JSON",
        type=_named,
        action="append",
        default=argparse.SUPPRESS,
        help="result of evaluate --json on another data set, whose labels [external] of --about "
        "explains; may be repeated",
    )
    parser.add_argument(
        "--folds",
        metavar="JSON",
        type=Path,
        action="append",
        default=argparse.SUPPRESS,
        help="result of dev compare --json with the model's run by fold as the second; may be "
        "repeated for one with --age",
    )
    parser.add_argument(
        "--reference", metavar="RUN", type=Path, help="folder of a run with the reference preset"
    )
    parser.add_argument(
        "--reference-test", metavar="JSON", type=Path, help="result of evaluate --json for that run"
    )
    parser.add_argument(
        "--about",
        metavar="TOML",
        type=Path,
        help="statements that no command can measure: name, [statements], [external], [published], "
        "[claim]",
    )


def run(args: argparse.Namespace) -> int:
    """Write both files; 0.

    Raises
    ------
    DatasetError
        If the images cannot be listed.
    ArtifactError
        If the model, or the reference run's, cannot be used, or a result cannot be read or
        belongs to another model.
    StorageError
        If a file cannot be written.
    """
    card = load_artifact(args.model).require_card()
    card = _with_validation(card, args)
    about = card.about if args.about is None else _toml(args.about)
    metrics = _with_results(card, args, about)
    changed = card.model_copy(update={"metrics": metrics, "about": about})
    write_card(args.model, changed)
    try:
        with replacing(args.model / MODEL_CARD_NAME) as target:
            target.write_text(render(changed), encoding="utf-8")
    except OSError as err:
        raise StorageError("The model card cannot be written.") from err
    print(f"{CARD_NAME} and {MODEL_CARD_NAME} are in {args.model}.")
    return 0


def _with_validation(card: Card, args: argparse.Namespace) -> Card:
    """Add what follows from the validation scores."""
    if args.validation_scores is not None:
        images = read_scores(args.validation_scores, card)
        card = with_curves(with_aggregation(card, images), images)
    if args.curves is not None:
        ages = None
        if args.data is not None:
            ages = read_ages(args.curves, read_labelled(args.data, labels=args.labels).examples)
        card = with_curves(card, read_scores(args.curves, card), ages)
    return card


def _with_results(card: Card, args: argparse.Namespace, about: dict[str, Any]) -> dict[str, Any]:
    """Return the card's metrics with the given results."""
    metrics: dict[str, Any] = dict(card.metrics)
    if args.test is not None:
        metrics["test"] = _results(args.test, card)
    if args.robustness is not None:
        metrics["robustness"] = _results(args.robustness, card)
    for name, path in args.external:
        metrics["external"] = {**metrics.get("external", {}), name: _results(path, card)}
    for path in args.folds:
        found = _compared(path, card)
        metrics["folds_with_age" if found.get("with_age") else "folds"] = found
    reference: dict[str, Any] = dict(metrics.get("reference", {}))
    if args.reference is not None:
        other = load_artifact(args.reference).require_card()
        reference["validation"] = other.metrics.get("validation")
        if args.reference_test is not None:
            reference["test"] = _results(args.reference_test, other)
    if "published" in about:
        reference["published"] = about["published"]
    if reference:
        metrics["reference"] = reference
    return metrics


def _results(path: Path, card: Card) -> dict[str, Any]:
    found = _json(path)
    if found.get("model_version") != card.version:
        raise ArtifactMismatchError("A result file was measured on another model.")
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as err:
        raise ArtifactNotFoundError("A result file is missing or damaged.") from err
    if not isinstance(found, dict):
        raise ArtifactNotFoundError("A result file is missing or damaged.")
    return found


def _named(argument: str) -> tuple[str, Path]:
    name, separator, path = argument.partition("=")
    if not (name and separator and path):
        raise argparse.ArgumentTypeError(f"{argument!r} is not a name and a file, as in NAME=JSON")
    return name, Path(path)


def _compared(path: Path, card: Card) -> dict[str, Any]:
    """Read a comparison of the model's run by fold with another."""
    found = _json(path)
    run = card.metrics.get("validation", {}).get("by_folds")
    if run is None or run not in str(found.get("second")).split(","):
        raise ArtifactMismatchError("A comparison by fold is not of the run of this model.")
    return found


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as err:
        raise ArtifactNotFoundError("The statements about the model cannot be read.") from err
