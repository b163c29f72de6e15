"""Images to compile with: some to take ranges of values from, some to compare scores on."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from mammoscope.data.dataset import Dataset, Example, read_dataset, require_both_classes
from mammoscope.data.split_table import read_split
from mammoscope.errors import EmptyDatasetError, ImageError, MetadataError, StorageError
from mammoscope.evaluation.evaluate import map_ahead
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.reading import read_file
from mammoscope.phantoms.drawing import write_phantom_dataset

CALIBRATION_IMAGES: Final = 128
"""Enough for ranges of values; each is computed in float, with all its intermediate values."""

PHANTOM_PATIENTS: Final = 24

Source = Literal["validation", "pictures", "phantoms"]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class PreprocessedImages:
    """Preprocessed images that a network is compiled with.

    Parameters
    ----------
    calibration
        uint8 (M, H, W): ranges of the layers' values are taken from these.
    comparison
        uint8 (N, H, W): scores of the compiled and the float network are compared on these.
    labels
        int64 (N,), 0 or 1, of `comparison`.
    source
        Whose images `comparison` is, for the card.
    """

    calibration: Pixels
    comparison: Pixels
    labels: npt.NDArray[np.int64]
    source: Source


def read_images(
    dataset: Dataset,
    network: Path,
    size: tuple[int, int],
    *,
    calibration: int = CALIBRATION_IMAGES,
) -> PreprocessedImages:
    """Read and preprocess images of a data set.

    Where the table of the training run's split lies beside the network and knows the images,
    scores are compared on its validation patients and ranges taken from its training patients.
    Otherwise the folder's own splits ``valid`` and ``train`` serve, and in a folder without them
    all images serve for both. Images that cannot be judged are left out.

    Parameters
    ----------
    dataset
        Labelled images.
    network
        The .keras file.
    size
        Height and width of the preprocessed image in pixels.
    calibration
        Images to take ranges from, at most; evenly spread over those there are.

    Raises
    ------
    SingleClassError, EmptyDatasetError
        If the images to compare on lack a class, or none can be judged.
    """
    ranges, compared, source = _choose(dataset, _trained_parts(network.parent))
    require_both_classes(compared, "the comparison of the compiled network")
    every = np.unique(np.linspace(0, len(ranges) - 1, calibration).round().astype(int))
    _, some = _preprocess([ranges[i] for i in every], size, "calibration")
    kept, all_ = _preprocess(compared, size, "comparison")
    require_both_classes(kept, "the comparison of the compiled network")
    return PreprocessedImages(some, all_, np.array([each.label for each in kept]), source)


def draw_images(size: tuple[int, int]) -> PreprocessedImages:
    """Preprocess phantoms, for a model whose images are not at hand.

    Parameters
    ----------
    size
        Height and width of the preprocessed image in pixels.

    Raises
    ------
    StorageError
        If they cannot be written for the moment.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="mammoscope-") as folder:
            write_phantom_dataset(Path(folder), patients=PHANTOM_PATIENTS)
            drawn = read_images(read_dataset(Path(folder)), Path(folder, "none"), size)
    except OSError as err:
        raise StorageError("The phantoms cannot be stored for the moment.") from err
    return PreprocessedImages(drawn.calibration, drawn.comparison, drawn.labels, "phantoms")


def _choose(
    dataset: Dataset, parts: dict[str, str]
) -> tuple[Sequence[Example], Sequence[Example], Source]:
    """Examples for calibration, examples for comparison, and whose the latter are."""
    train, validation = (
        [example for example in dataset.examples if parts.get(example.path.name) == part]
        for part in ("train", "validation")
    )
    if train and validation:
        return train, validation, "validation"
    if {"train", "valid"} <= set(dataset.splits):
        return dataset.split("train"), dataset.split("valid"), "pictures"
    return dataset.examples, dataset.examples, "pictures"


def _trained_parts(run: Path) -> dict[str, str]:
    """Part of the training run's split by file name; empty where there is no such table."""
    try:
        return {row.file: row.part for row in read_split(run)}
    except MetadataError:
        return {}


def _preprocess(
    examples: Sequence[Example], size: tuple[int, int], label: str
) -> tuple[list[Example], Pixels]:
    """Examples that can be judged, and their preprocessed images uint8 (N, H, W)."""

    def one(example: Example) -> Pixels | None:
        try:
            return preprocess(read_file(example.path, needed=size), size).pixels
        except ImageError:
            return None

    outcomes = list(
        tqdm(
            map_ahead(one, examples),
            label,
            len(examples),
            unit="image",
            file=sys.stderr,
            disable=None,
            leave=False,
        )
    )
    kept = [
        example for example, pixels in zip(examples, outcomes, strict=True) if pixels is not None
    ]
    if not kept:
        raise EmptyDatasetError("None of the images can be judged, so nothing can be compiled.")
    return kept, np.stack([pixels for pixels in outcomes if pixels is not None])
