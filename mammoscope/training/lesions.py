"""Batches with films whose lesions are outlined, and the loss of their cells."""

import hashlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from mammoscope.data.lesions import MARGIN, Film, preprocess_film
from mammoscope.errors import ImageError
from mammoscope.imaging.arrays import Boxes, Pixels
from mammoscope.model.cells import UNKNOWN, cell_targets
from mammoscope.model.networks import CELLS
from mammoscope.settings.training import TrainConfig
from mammoscope.training.batches import (
    AHEAD,
    TEACHERS,
    WORKERS,
    PreprocessedExamples,
    as_input,
    augmented,
    store_arrays,
)

CELLS_WEIGHT: Final = 10.0
"""Weight of a film's mean loss over its cells, relative to 1 for the label's loss. A label affects
the 6 cells whose mean is its logit; a film, a few of its 196, because the others are soon
learned."""

_CACHE_FORMAT: Final = 2
"""Increase this whenever the result of `mammoscope.data.lesions.preprocess_film` changes."""

_ByOutput = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class PreprocessedFilms(PreprocessedExamples):
    """Films with a visible breast, each as one breast; boxes are fractions of ``pixels``."""

    boxes: tuple[Boxes, ...]


def preprocess_films(films: Sequence[Film], config: TrainConfig, cache: Path) -> PreprocessedFilms:
    """Preprocess films and transform their boxes, or load both from an earlier run's cache.

    Parameters
    ----------
    films
        The films to preprocess.
    config
        Input size and channels are used.
    cache
        Folder for the cache; created if missing.

    Raises
    ------
    StorageError
        If the cache cannot be written.
    """
    form = f"{_CACHE_FORMAT} {config.input_size} {MARGIN} {config.channels}"
    digest = hashlib.sha256(form.encode())
    for film in films:
        facts = film.example.path.stat()
        digest.update(f"{film.example.image_id} {facts.st_size} {facts.st_mtime_ns}\n".encode())
        digest.update(film.boxes.tobytes())
    path = cache / f"films-{digest.hexdigest()[:32]}.npz"
    if not path.is_file():
        store_arrays(path, **_preprocess_all(films, config))
    with np.load(path) as stored:
        pixels, kept, boxes, owners = (stored[n] for n in ("pixels", "kept", "boxes", "owners"))
    examples = tuple(films[i].example for i in kept)
    return PreprocessedFilms(
        examples,
        pixels,
        tuple(example.image_id for example in examples),
        {},
        tuple(boxes[owners == i] for i in range(len(pixels))),
    )


def _preprocess_all(films: Sequence[Film], config: TrainConfig) -> dict[str, npt.NDArray[Any]]:
    """Return pixels and numbers of films with a breast; boxes, and the film of each box."""

    def one(film: Film) -> tuple[Pixels, Boxes] | None:
        try:
            preprocessed, boxes = preprocess_film(film, config.input_size, config.channels)
        except ImageError:
            return None
        return preprocessed.pixels, boxes

    with ThreadPoolExecutor(WORKERS) as pool:
        found = list(tqdm(pool.map(one, films), "preprocess films", len(films), disable=None))
    shown = [each for each in found if each is not None]
    return {
        "pixels": np.stack([pixels for pixels, _ in shown]),
        "kept": np.flatnonzero([each is not None for each in found]),
        "boxes": np.concatenate([boxes for _, boxes in shown]),
        "owners": np.repeat(np.arange(len(shown)), [len(boxes) for _, boxes in shown]),
    }


class LesionBatches(keras.utils.PyDataset):  # type: ignore[misc, unused-ignore]
    """Shuffled batches of films, or of images with a share of films; the same for seed and epoch.

    An item is a tuple of pixels, targets and weights by name of the output. The label of an image
    and the cells of a film have weight 1; the cells of an image and the label of a film, 0. An
    epoch has all images once, or all films if there are no images.

    Parameters
    ----------
    images
        Images for the data set's labels; None trains on films only.
    films
        Films for the cells.
    config
        Batch size, share of films, augmentation of images and seed are used.
    grid
        Rows and columns of the network's maps.
    answers
        Teachers' probabilities for the images, float32 (N,); None without teachers.
    """

    def __init__(
        self,
        images: PreprocessedExamples | None,
        films: PreprocessedFilms,
        config: TrainConfig,
        grid: tuple[int, int],
        answers: npt.NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__(workers=WORKERS, use_multiprocessing=False, max_queue_size=AHEAD)
        self._images, self._films, self._config, self._grid = images, films, config, grid
        self._answers = answers
        share = config.lesion_share if images else 1.0
        self._films_each = max(1, round(share * config.batch_size))
        self._images_each = config.batch_size - self._films_each
        self.begin_epoch(0)

    def begin_epoch(self, number: int) -> None:
        """Shuffle for epoch `number` (0, 1, ...)."""
        self._epoch = number
        rng = np.random.default_rng((self._config.seed, number))
        self._image_order = rng.permutation(len(self._images.examples) if self._images else 0)
        count = len(self._films.pixels)
        needed = len(self) * self._films_each if self._images else count
        passes = [rng.permutation(count) for _ in range(math.ceil(needed / count))]
        self._film_order = np.concatenate(passes)[:needed]

    def __len__(self) -> int:
        if self._images:
            return math.ceil(len(self._images.examples) / self._images_each)
        return math.ceil(len(self._films.pixels) / self._films_each)

    def __getitem__(self, index: int) -> tuple[Pixels, _ByOutput, _ByOutput]:
        images = self._image_order[index * self._images_each :][: self._images_each]
        films = self._film_order[index * self._films_each :][: self._films_each]
        pixels, labels, cells = [], [], []
        if self._images:
            labels = [self._images.examples[i].label for i in images]
            pixels = [
                augmented(self._images.pixels[i], self._config, self._epoch, int(i)) for i in images
            ]
        for place, i in enumerate(films, start=index * self._films_each):
            rng = np.random.default_rng((self._config.seed, self._epoch, place, 1))
            film, boxes = flipped_film(self._films.pixels[i], self._films.boxes[i], rng)
            pixels.append(film)
            cells.append(cell_targets(boxes, self._config.input_size, self._grid))
        blank = np.zeros((len(images), *self._grid, 2), dtype=np.float32)
        is_image = np.repeat(np.array([1.0, 0.0], dtype=np.float32), [len(images), len(films)])
        targets = {"logit": labels}
        if self._answers is not None:
            targets[TEACHERS] = self._answers[images].tolist()
        of_images = {
            name: np.array([*values, *[0] * len(films)], dtype=np.float32)[:, None]
            for name, values in targets.items()
        }
        return (
            as_input(np.stack(pixels)),
            {**of_images, CELLS: np.concatenate([blank, np.stack(cells)])},
            {**dict.fromkeys(of_images, is_image), CELLS: 1.0 - is_image},
        )


def flipped_film(pixels: Pixels, boxes: Boxes, rng: np.random.Generator) -> tuple[Pixels, Boxes]:
    """Flip a film and its boxes upside down in half of the cases."""
    if rng.random() >= 0.5:
        return pixels, boxes
    flipped = boxes.copy()
    flipped[:, [2, 4]] = 1.0 - boxes[:, [4, 2]]
    return pixels[::-1], flipped


class CellCrossEntropy(keras.losses.Loss):  # type: ignore[misc, unused-ignore]
    """Mean cross-entropy (N,) over the known cells of logit maps (N, h, w, k)."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compare logits with 1, 0 or `UNKNOWN`, both (N, h, w, k); returns float32 (N,)."""
        known = keras.ops.cast(y_true != UNKNOWN, "float32")
        losses = keras.ops.softplus(y_pred) - keras.ops.maximum(y_true, 0.0) * y_pred
        axes = (1, 2, 3)
        return keras.ops.sum(losses * known, axes) / keras.ops.sum(known, axes)
