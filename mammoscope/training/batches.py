"""Cache preprocessed images, and make training batches from them."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from mammoscope.data.dataset import Example, breast_ids
from mammoscope.errors import ImageError, StorageError
from mammoscope.imaging.arrays import Pixels
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.reading import read_file
from mammoscope.settings.training import TrainConfig
from mammoscope.system.files import replacing
from mammoscope.training.augmentation import copy, erase, flip, jitter
from mammoscope.training.processes import ALONE, Place

PIXELS: Final = "pixels"
CLEAN: Final = "clean"
"""Names of a batch's images in imitation: as augmented, and without the changes of copies."""

Batch = tuple[Pixels | dict[str, Pixels], dict[str, npt.NDArray[np.float32]]]

TEACHERS: Final = "teachers"
"""Name of the logit's second target, in runs with teachers."""

WORKERS: Final = 2
AHEAD: Final = 4
"""Number of batches prepared ahead of the network."""

_CHEST_WALLS: Final = ("left", "right")

_CACHE_FORMAT: Final = 3
"""Increase this whenever the result of `mammoscope.imaging.preprocessing` changes."""

_WITHOUT_COPIES: Final = "flips"
"""Augmentation that flips the same images as ``copies`` does."""


@dataclass(frozen=True, slots=True, eq=False)
class PreprocessedExamples:
    """Examples with their preprocessed images.

    ``pixels`` is uint8 (N, H, W), or (N, H, W, 3) of three channels. ``breasts`` identifies each
    image's breast. ``refused`` counts images left out, by error code.
    """

    examples: tuple[Example, ...]
    pixels: Pixels
    breasts: tuple[str, ...]
    refused: dict[str, int]


def preprocess_examples(
    examples: Sequence[Example], config: TrainConfig, cache: Path, label: str
) -> PreprocessedExamples:
    """Read and preprocess images, or load them from an earlier run's cache.

    Images that cannot be used are left out and counted. The cache is one file, identified by the
    images' names, sizes and modification times, and written atomically.

    Parameters
    ----------
    examples
        The images.
    config
        Input size, crop and channels are used.
    cache
        Folder for the cache; created if missing.
    label
        Title of the progress bar.

    Raises
    ------
    StorageError
        If the cache cannot be written.
    """
    path = cache / f"{_fingerprint(examples, config)}.npz"
    if path.is_file():
        with np.load(path) as stored:
            pixels, outcomes = stored["pixels"], [str(outcome) for outcome in stored["outcomes"]]
    else:
        pixels, outcomes = _preprocess_all(examples, config, label)
        store_arrays(path, pixels=pixels, outcomes=np.array(outcomes, dtype=np.str_))
    kept = [i for i, outcome in enumerate(outcomes) if outcome in _CHEST_WALLS]
    refused = Counter(outcome for outcome in outcomes if outcome not in _CHEST_WALLS)
    examples = tuple(examples[i] for i in kept)
    breasts = breast_ids(examples, [outcomes[i] for i in kept])
    return PreprocessedExamples(examples, pixels, tuple(breasts), dict(sorted(refused.items())))


def _fingerprint(examples: Sequence[Example], config: TrainConfig) -> str:
    form = f"{_CACHE_FORMAT} {config.input_size} {config.crop} {config.channels}"
    digest = hashlib.sha256(form.encode())
    for example in examples:
        facts = example.path.stat()
        line = f"{example.path.name} {facts.st_size} {facts.st_mtime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def _preprocess_all(
    examples: Sequence[Example], config: TrainConfig, label: str
) -> tuple[Pixels, list[str]]:
    """Return preprocessed images and, for every example, its chest wall's side or error code."""
    size = config.input_size

    def one(example: Example) -> tuple[Pixels | None, str]:
        try:
            preprocessed = preprocess(
                read_file(example.path, needed=size),
                size,
                crop_to_breast=config.crop,
                channels=config.channels,
            )
        except ImageError as err:
            return None, err.code
        return preprocessed.pixels, preprocessed.chest_wall

    with ThreadPoolExecutor(WORKERS) as pool:
        results = list(
            tqdm(pool.map(one, examples), label, len(examples), unit="image", disable=None)
        )
    stack = [pixels for pixels, _ in results if pixels is not None]
    pixels = np.stack(stack) if stack else np.zeros((0, *size), dtype=np.uint8)
    return pixels, [outcome for _, outcome in results]


def store_arrays(path: Path, **arrays: Any) -> None:
    """Write arrays to a cache file atomically; raises `StorageError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as target, target.open("wb") as stream:
            np.savez(stream, **arrays)
    except OSError as err:
        raise StorageError("The preprocessed images cannot be written to the cache.") from err


class Batches(keras.utils.PyDataset):
    """Shuffled, augmented batches, determined by seed and epoch.

    An item is a tuple of pixels, as `as_input` makes them, and of targets float32 (B, 1) by name of
    the output. For imitation, the pixels are a dict: `PIXELS` augmented, `CLEAN` at most flipped.

    Parameters
    ----------
    preprocessed
        The images to make batches from.
    config
        Batch size, augmentation and seed are used.
    answers
        Teachers' probabilities, float32 (N,), for the target `TEACHERS`; None without teachers.
    place
        The process among several, each of which makes its share of a batch.
    devices
        Number of devices of all processes, among which a batch is divided equally. If this is not
        possible with an epoch's last batch, the batch loses at most ``devices - 1`` images.
    """

    def __init__(
        self,
        preprocessed: PreprocessedExamples,
        config: TrainConfig,
        answers: npt.NDArray[np.float32] | None = None,
        place: Place = ALONE,
        devices: int = 1,
    ) -> None:
        # With one worker, Keras makes the batches in a TensorFlow thread, which delays or aborts
        # the exit of a process that leaves an epoch early. With more workers it uses Python
        # threads.
        super().__init__(workers=WORKERS, use_multiprocessing=False, max_queue_size=AHEAD)
        self._preprocessed = preprocessed
        self._config = config
        self._place = place
        last = len(preprocessed.examples) % config.batch_size
        self._usable = len(preprocessed.examples) - last % devices
        labels = np.array([example.label for example in preprocessed.examples], dtype=np.float32)
        self._targets = {"logit": labels}
        if answers is not None:
            self._targets[TEACHERS] = answers
        self.begin_epoch(0)

    def begin_epoch(self, number: int) -> None:
        """Shuffle for epoch `number` (0, 1, ...)."""
        self._epoch = number
        rng = np.random.default_rng((self._config.seed, number))
        order = rng.permutation(len(self._preprocessed.examples))
        self._order = order[: self._usable]

    def __len__(self) -> int:
        return math.ceil(len(self._order) / self._config.batch_size)

    def __getitem__(self, index: int) -> Batch:
        size = self._config.batch_size
        whole = self._order[index * size : (index + 1) * size]
        chunk = whole[self._place.share(len(whole))]
        targets = {name: values[chunk][:, None] for name, values in self._targets.items()}
        pixels = self._made(chunk, self._config)
        if not self._config.imitates:
            return pixels, targets
        flipped = self._config.model_copy(update={"augmentation": _WITHOUT_COPIES})
        clean = self._made(chunk, flipped) if self._config.augmentation == "copies" else pixels
        return {PIXELS: pixels, CLEAN: clean}, targets

    def _made(self, chunk: npt.NDArray[np.int64], config: TrainConfig) -> Pixels:
        images = self._preprocessed.pixels
        return as_input(
            np.stack([augmented(images[i], config, self._epoch, int(i)) for i in chunk])
        )


def as_input(pixels: Pixels) -> Pixels:
    """Return preprocessed images, uint8 (N, H, W) or (N, H, W, 3), as network inputs."""
    return pixels[..., None] if pixels.ndim == 3 else pixels


def augmented(pixels: Pixels, config: TrainConfig, epoch: int, index: int) -> Pixels:
    """Return a preprocessed image, augmented for an epoch; always the same."""
    rng = np.random.default_rng((config.seed, epoch, index))
    match config.augmentation:
        case "none":
            return pixels
        case "flips":
            return flip(pixels, rng)
        case "erasing":
            return erase(pixels, rng)
        case "copies":
            return copy(pixels, rng)
        case "jitter":
            return jitter(pixels, rng)
