"""Compile a model for serving.

Compile the .keras file of a model folder into the network that is served, and store it in the
cache. With --output, store it in a folder that a service can read from a read-only volume and
without Keras. With --data, first choose the precision and record it in the card: 8 bits, for a
network that was trained for it, or bfloat16 if scores stay close enough to those in float32. Scores
are compared on the training run's validation patients if their images are in DIR, else on the split
valid, else on all images.
"""

import argparse
import filecmp
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from mammoscope.cli.arguments import (
    DEFAULT_MODEL,
    Subparsers,
    add_command,
    add_labels,
    read_labelled,
)
from mammoscope.errors import ArtifactNotFoundError, StorageError, UsageError
from mammoscope.model.artifact.card import CardCompiled
from mammoscope.model.artifact.folder import CARD_NAME, NETWORK_NAME, Artifact, load_artifact
from mammoscope.settings.service import model_path
from mammoscope.system.files import replacing_files
from mammoscope.system.progress import phase

_REMOVED: Final = {
    "--kind": "compile chooses between bfloat16 and float32 itself",
    "--calibration": "there is no 8-bit compilation any more, so it needs no calibration",
}
"""Options of earlier versions, with the reason for their removal."""


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = add_command(subparsers, __name__, run)
    parser.set_defaults(model=None)
    parser.add_argument(
        "--model",
        metavar="DIR",
        type=Path,
        default=argparse.SUPPRESS,
        help=f"model folder {DEFAULT_MODEL}; required with --data, because its card is updated",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        help="labelled images for comparing scores, LABEL/FILE or SPLIT/LABEL/FILE",
    )
    parser.add_argument(
        "--metadata",
        metavar="CSV",
        type=Path,
        help="table with columns file, patient_id, ... (default: metadata.csv in DIR, if any)",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="folder to write the model to, with its card and the compiled network",
    )
    add_labels(parser)
    for option in _REMOVED:
        parser.add_argument(option, action=_Refuse, help=argparse.SUPPRESS)


class _Refuse(argparse.Action):
    """Refuses an option of earlier versions with a one-line message."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        del namespace, values
        option = option_string or ""
        parser.exit(2, f"mammoscope: {option} was removed: {_REMOVED[option]}.\n")


def run(args: argparse.Namespace) -> int:
    """Compile, and print the comparison and the location of the network; 0.

    Raises
    ------
    ArtifactError
        If the model cannot be used, has no card or cannot be compiled.
    DatasetError
        If the images cannot be used.
    UsageError
        If options conflict.
    ConfigurationError
        If the CPU cannot compare scores.
    StorageError
        If a folder cannot be written to.
    """
    if args.metadata is not None and args.data is None:
        raise UsageError("--metadata describes the images of --data; give --data as well.")
    if args.data is not None and args.model is None:
        raise UsageError("--data updates the model's card; give its folder with --model.")
    model = args.model or model_path()
    artifact = load_artifact(model)
    if artifact.card is None:
        raise ArtifactNotFoundError("Only a model with a card can be compiled.")
    if args.data is not None:
        compiled = _choose_precision(artifact, args)
        print("\n".join(_describe(compiled)))
        artifact = load_artifact(model)
    if args.output is not None:
        _write_folder(artifact, args.output)

    from mammoscope.model.engine import load_engine

    # Loads the result, which proves that it can be served.
    with phase("load the model"):
        engine = load_engine(args.output or artifact)
    served = "float32" if engine.card.compiled is None else engine.card.compiled.precision
    where = "the cache" if args.output is None else args.output
    print(f"Model {engine.card.version} is compiled for {served}; the network is in {where}.")
    return 0


def _choose_precision(artifact: Artifact, args: argparse.Namespace) -> CardCompiled:
    # Imported here, because the service's environment has no scikit-learn.
    from mammoscope.export.comparison_images import read_images
    from mammoscope.export.precision import choose_precision

    dataset = read_labelled(args.data, args.metadata, args.labels)
    images = read_images(dataset, artifact.network, artifact.require_card())
    return choose_precision(artifact, images)


def _describe(compiled: CardCompiled) -> Iterator[str]:
    """Yield the comparison of scores, and the chosen precision."""
    found = compiled.comparison
    yield f"{'':29}{found.precision:>10}{'float32':>10}{'allowed':>10}"
    allowed = f"{found.allowed_auc_difference:g}"
    yield f"{'AUC':29}{found.auc_compiled:>10.4f}{found.auc_float:>10.4f}{'± ' + allowed:>10}"
    for title, value, most in (
        ("largest difference", found.max_difference, found.allowed_difference),
        ("95th percentile", found.percentile_95_difference, found.allowed_percentile_95),
        ("mean difference", found.mean_difference, None),
    ):
        yield f"{title:29}{value:>10.4f}{'':>10}{_limit(most):>10}".rstrip()
    most = found.allowed_labels_changed
    changed = None if most is None else most * found.images
    changes = f"{found.labels_changed:,}"
    yield f"{'labels that change':29}{changes:>10}{'':>10}{_limit(changed):>10}".rstrip()
    yield (
        f"Differences are in the probability of each of {found.images:,} images. The card records "
        f"the comparison and the precision, {compiled.precision}."
    )


def _limit(most: float | None) -> str:
    return "" if most is None else f"{most:g}"


def _write_folder(artifact: Artifact, output: Path) -> None:
    """Write .keras, card and compiled network to a folder, which may be the model's own.

    Raises
    ------
    UsageError
        If the folder has another model that was not written here, such as a training run.
    StorageError
        If the folder cannot be written to.
    """
    from mammoscope.model.cache import COMPILED_NAME, write_compiled

    source = artifact.network.parent
    try:
        output.mkdir(parents=True, exist_ok=True)
        if not output.samefile(source):
            there = [name for name in (NETWORK_NAME, CARD_NAME) if (output / name).exists()]
            # The same network may be left by a call that failed: it can be tried again.
            same = NETWORK_NAME in there and filecmp.cmp(
                output / NETWORK_NAME, artifact.network, shallow=False
            )
            if there and not same and not (output / COMPILED_NAME).exists():
                raise UsageError(
                    f"The output folder has the {' and '.join(there)} of a model that was not "
                    "compiled into it, and they would be replaced. Choose another folder."
                )
            with replacing_files(output) as work:
                shutil.copyfile(artifact.network, work / NETWORK_NAME)
                shutil.copyfile(source / CARD_NAME, work / CARD_NAME)
    except OSError as err:
        raise StorageError("The model cannot be written to the output folder.") from err
    write_compiled(artifact, output)
