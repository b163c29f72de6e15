"""Add statistics of the training images to a model's card.

Predict images of the splits train and valid, and add the deciles of their logits, brightness,
contrast and breast size to card.json. The service compares incoming images with them to detect
drift.
"""

import argparse
import random
from pathlib import Path
from typing import Final

from mammoscope.cli.arguments import (
    Subparsers,
    add_command,
    add_labels,
    add_model_to_change,
    positive,
    read_labelled,
)
from mammoscope.data.dataset import Example
from mammoscope.errors import EmptyDatasetError, ImageError
from mammoscope.evaluation.evaluate import map_ahead
from mammoscope.imaging.reading import read_file
from mammoscope.model.artifact.folder import load_artifact, write_card
from mammoscope.service.drift import deciles, statistics
from mammoscope.system.progress import phase, progress

_TRAINING_SPLITS: Final = ("train", "valid")


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = add_command(subparsers, __name__, run)
    parser.add_argument("--data", metavar="DIR", type=Path, required=True, help="the images")
    add_model_to_change(parser)
    parser.add_argument(
        "--sample", metavar="N", type=positive, default=1000, help="maximum number of images"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of the sample")
    add_labels(parser)


def run(args: argparse.Namespace) -> int:
    """Predict, print the deciles and write the card; 0.

    Raises
    ------
    DatasetError
        If the folder cannot be used, or every image in it was refused.
    ArtifactError
        If the model cannot be used or has no card.
    StorageError
        If the card cannot be written.
    """
    dataset = read_labelled(args.data, labels=args.labels)
    artifact = load_artifact(args.model)
    card = artifact.require_card()
    examples = dataset.split(*_TRAINING_SPLITS) if dataset.splits else dataset.examples
    chosen = random.Random(args.seed).sample(examples, min(args.sample, len(examples)))

    from mammoscope.model.engine import load_engine

    with phase("load the model"):
        engine = load_engine(artifact)

    def work(example: Example) -> dict[str, float] | None:
        try:
            mammogram = read_file(example.path, needed=engine.card.input_size)
            return statistics(engine.predict(mammogram))
        except ImageError:
            return None

    outcomes = progress(map_ahead(work, chosen), len(chosen))
    found = [each for each in outcomes if each is not None]
    if not found:
        raise EmptyDatasetError("Every image was refused.")
    distributions = {name: deciles([each[name] for each in found]) for name in found[0]}
    write_card(artifact.network.parent, card.model_copy(update={"distributions": distributions}))
    print(f"Deciles over {len(found):,} images; {len(chosen) - len(found):,} refused")
    for name, values in distributions.items():
        print(f"  {name:14}" + " ".join(f"{value:7.3f}" for value in values))
    return 0
