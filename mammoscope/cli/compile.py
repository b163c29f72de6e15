"""``python -m mammoscope compile``: make the network that is served from the .keras."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from mammoscope.cli.arguments import add_model_folder
from mammoscope.data.dataset import read_dataset
from mammoscope.errors import ArtifactNotFoundError, ConfigurationError
from mammoscope.export import (
    CALIBRATION_IMAGES,
    Trial,
    compile_artifact,
    draw_images,
    read_images,
)
from mammoscope.model.artifact import METHOD_TITLES, Card, load_artifact


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "compile",
        help="compile a model for serving",
        description=(
            "Compile the .keras of a model folder into the network that is served, in 8 bits where "
            "its scores stay near enough to those of the .keras, and write the comparison into the "
            "card. Scores are compared on the validation patients of the training run where the "
            "images are there, else on the folder's split valid, else on all images."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_model_folder(parser, "model folder; it is written to")
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        help="labelled images, LABEL/FILE or SPLIT/LABEL/FILE; phantoms where left out",
    )
    parser.add_argument(
        "--metadata",
        metavar="CSV",
        type=Path,
        help="table with columns file, patient_id, ...; metadata.csv in DIR is found by itself",
    )
    parser.add_argument(
        "--kind",
        choices=("int8", "bfloat16", "float"),
        default="int8",
        help="what to begin with; whatever is slower follows",
    )
    parser.add_argument(
        "--calibration",
        metavar="N",
        type=int,
        default=CALIBRATION_IMAGES,
        help="images to take the ranges of the layers' values from, at most",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compile, say what was compared and kept; 0.

    Raises
    ------
    ArtifactError
        If the model cannot be used, has no card or cannot be compiled.
    DatasetError
        If the images cannot be used.
    ConfigurationError
        If an option cannot be used, or nncf is not installed.
    StorageError
        If the model folder cannot be written to.
    """
    if args.calibration < 1:
        raise ConfigurationError(f"--calibration is {args.calibration}; at least 1 is needed.")
    if args.metadata is not None and args.data is None:
        raise ConfigurationError("--metadata describes the pictures of --data, which is left out.")
    artifact = load_artifact(args.model)
    if artifact.card is None:
        raise ArtifactNotFoundError("Only a model with a card can be compiled.")
    dataset = None if args.data is None else read_dataset(args.data, args.metadata)

    size = artifact.card.input_size
    if dataset is None:
        print(
            "Without --data phantoms stand in for mammograms; compile with the model's own "
            "images before it is used.",
            file=sys.stderr,
        )
        images = draw_images(size)
    else:
        images = read_images(dataset, artifact.network, size, calibration=args.calibration)
    print(
        f"Ranges of values from {len(images.calibration):,} images, scores compared on "
        f"{len(images.comparison):,} ({images.source})."
    )
    print(
        f"{'':29}{'8 bits':>7}{'AUC':>8}{'of float':>10}{'largest':>9}{'95 %':>8}{'labels':>8}"
        f"{'MB':>7}{'speed':>7}"
    )
    card = compile_artifact(artifact, images, kind=args.kind, report=_report)
    print("\n".join(describe(card)))
    return 0


def _report(trial: Trial) -> None:
    """One line: operations in 8 bits, AUC, differences of the probability, labels, size, speed."""
    found = trial.comparison
    print(
        f"{METHOD_TITLES[trial.method]:29}{trial.share_in_8_bits:>7.0%}{found.auc_compiled:>8.4f}{found.auc_float:>10.4f}"
        f"{found.max_difference:>9.4f}{found.percentile_95_difference:>8.4f}"
        f"{found.labels_changed:>8,}{trial.bytes / 1e6:>7.1f}{trial.speed:>7.2f}",
        flush=True,
    )


def describe(card: Card) -> Iterator[str]:
    """Say which network is kept."""
    if card.compiled is None:
        return
    made, allowed = card.compiled, card.compiled.comparison
    yield (
        f"Kept: {METHOD_TITLES[card.compiled.method]} (allowed: AUC within "
        f"{allowed.allowed_auc_difference:g}, every probability within "
        f"{allowed.allowed_difference:g})."
    )
    yield (
        "Columns: share of the convolutions' operations in 8 bits, AUC of the compiled and the "
        "float network, largest and 95th percentile of the difference of an image's probability, "
        "labels that change, size, and speed of one image as times that of float."
    )
    if made.throughput is not None:
        yield f"Many images at a time are scored {made.throughput:.2f} times as fast as in float."
    if made.rounded:
        yield (
            "This processor has no bfloat16: factors rounded to it were compared, and float32, in "
            "which the same weights serve here, was timed."
        )
    if made.float_blocks:
        yield f"Blocks left in float: {', '.join(made.float_blocks)}."
    yield (
        f"{card.compiled.topology.name} and {card.compiled.weights.name} are served from now on; "
        "the card holds their sha256 and the comparison."
    )
