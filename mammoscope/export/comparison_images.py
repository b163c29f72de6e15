"""Images for comparing scores in both precisions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mammoscope.data.dataset import Dataset, Example, require_both_classes
from mammoscope.data.split_table import read_split
from mammoscope.errors import EmptyDatasetError, ImageError, MetadataError
from mammoscope.evaluation.evaluate import map_ahead
from mammoscope.export.score_comparison import Source
from mammoscope.imaging.arrays import Pixels
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.reading import read_file
from mammoscope.model.artifact.card import Card
from mammoscope.system.progress import progress

_PURPOSE: Final = "the comparison of scores"


@dataclass(frozen=True, slots=True, eq=False)
class PreprocessedImages:
    """Preprocessed images for comparing scores.

    Parameters
    ----------
    pixels
        uint8 (N, H, W) or (N, H, W, 3).
    labels
        int64 (N,), 0 or 1.
    source
        Where the images come from, for the card.
    """

    pixels: Pixels
    labels: npt.NDArray[np.int64]
    source: Source


def read_images(dataset: Dataset, network: Path, card: Card) -> PreprocessedImages:
    """Read and preprocess images of a data set.

    If the training run's split table lies next to the network and lists the images, the run's
    validation images are used. Otherwise the folder's split ``valid`` is used, or all images of a
    folder without splits. Refused images are left out.

    Parameters
    ----------
    dataset
        Labelled images.
    network
        The .keras file.
    card
        Its input size and channels are used.

    Raises
    ------
    SingleClassError, EmptyDatasetError
        If the images are all of one class, or all are refused.
    """
    chosen, source = _choose(dataset, network.parent)
    require_both_classes(chosen, _PURPOSE)
    kept, pixels = _preprocess(chosen, card)
    require_both_classes(kept, _PURPOSE)
    return PreprocessedImages(pixels, np.array([each.label for each in kept]), source)


def _choose(dataset: Dataset, run: Path) -> tuple[Sequence[Example], Source]:
    """Choose the examples to compare, and say where they come from."""
    try:
        parts = {row.file: row.part for row in read_split(run)}
    except MetadataError:
        parts = {}
    validation = [each for each in dataset.examples if parts.get(each.name) == "validation"]
    if validation:
        return validation, "validation"
    chosen = dataset.split("valid") if "valid" in dataset.splits else dataset.examples
    learned = all(parts.get(each.name) == "train" for each in chosen)
    return chosen, "training" if learned else "images"


def _preprocess(examples: Sequence[Example], card: Card) -> tuple[list[Example], Pixels]:
    """Return the accepted examples and their preprocessed images, as the network takes them."""
    size = card.input_size

    def one(example: Example) -> Pixels | None:
        try:
            mammogram = read_file(example.path, needed=size)
            return preprocess(mammogram, size, channels=card.channels).pixels
        except ImageError:
            return None

    outcomes = list(progress(map_ahead(one, examples), len(examples), "comparison"))
    kept = [
        example for example, pixels in zip(examples, outcomes, strict=True) if pixels is not None
    ]
    if not kept:
        raise EmptyDatasetError("All images were refused, so no scores can be compared.")
    return kept, np.stack([pixels for pixels in outcomes if pixels is not None])
