"""Cached preprocessed images, and the batches that a network learns from."""

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
from mammoscope.training.augmentation import erase, flip, jitter

Batch = tuple[Pixels, dict[str, npt.NDArray[np.float32]]]

TEACHERS: Final = "teachers"
"""Name of the target that the logit has besides the label in a run with teachers."""

WORKERS: Final = 2
AHEAD: Final = 4
"""Batches that are ready before the network needs them."""

_CHEST_WALLS: Final = ("left", "right")

_CACHE_FORMAT: Final = 2
"""To be raised whenever `mammoscope.imaging.preprocessing` changes its result."""


@dataclass(frozen=True, slots=True, eq=False)
class PreprocessedExamples:
    """Examples with their preprocessed images.

    ``pixels`` is uint8 (N, H, W), or (N, H, W, 3) of three channels; ``breasts`` names each image's
    breast; ``refused`` counts images left out, by error code.
    """

    examples: tuple[Example, ...]
    pixels: Pixels
    breasts: tuple[str, ...]
    refused: dict[str, int]


def preprocess_examples(
    examples: Sequence[Example], config: TrainConfig, cache: Path, label: str
) -> PreprocessedExamples:
    """Read and preprocess images, or take them from an earlier run's cache.

    An image that cannot be used is left out and counted. The cache is one file, found by the
    images' names, sizes and modification times; it is written whole or not at all.

    Parameters
    ----------
    examples
        The images.
    config
        Input size, crop and channels are used.
    cache
        Folder for the cache; made if it is missing.
    label
        Shown beside the progress bar.

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
    """Preprocessed images and, for every example, its chest wall's side or why it was refused."""
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
    """Write arrays into a file of a cache, whole or not at all; raises `StorageError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as target, target.open("wb") as stream:
            np.savez(stream, **arrays)
    except OSError as err:
        raise StorageError("The preprocessed images cannot be stored.") from err


class Batches(keras.utils.PyDataset):
    """Shuffled, augmented batches, the same whenever seed and epoch are the same.

    An item is a tuple of pixels, as `as_input` makes them, and of targets float32 (B, 1) by name of
    the output.

    Parameters
    ----------
    preprocessed
        What the batches are made of.
    config
        Batch size, augmentation and seed are used.
    answers
        Probabilities by the teachers, float32 (N,), the target `TEACHERS`; None without teachers.
    """

    def __init__(
        self,
        preprocessed: PreprocessedExamples,
        config: TrainConfig,
        answers: npt.NDArray[np.float32] | None = None,
    ) -> None:
        # With one worker Keras makes the batches in a thread of TensorFlow, which delays or aborts
        # the end of a process that leaves an epoch early. With more it uses threads of Python.
        super().__init__(workers=WORKERS, use_multiprocessing=False, max_queue_size=AHEAD)
        self._preprocessed = preprocessed
        self._config = config
        labels = np.array([example.label for example in preprocessed.examples], dtype=np.float32)
        self._targets = {"logit": labels}
        if answers is not None:
            self._targets[TEACHERS] = answers
        self.begin_epoch(0)

    def begin_epoch(self, number: int) -> None:
        """Shuffle for epoch `number` (0, 1, ...)."""
        self._epoch = number
        rng = np.random.default_rng((self._config.seed, number))
        self._order = rng.permutation(len(self._preprocessed.examples))

    def __len__(self) -> int:
        return math.ceil(len(self._order) / self._config.batch_size)

    def __getitem__(self, index: int) -> Batch:
        size = self._config.batch_size
        chunk = self._order[index * size : (index + 1) * size]
        return (
            as_input(
                np.stack(
                    [
                        augmented(self._preprocessed.pixels[i], self._config, self._epoch, int(i))
                        for i in chunk
                    ]
                )
            ),
            {name: values[chunk][:, None] for name, values in self._targets.items()},
        )


def as_input(pixels: Pixels) -> Pixels:
    """Preprocessed images, uint8 (N, H, W) or (N, H, W, 3), as a network takes them."""
    return pixels[..., None] if pixels.ndim == 3 else pixels


def augmented(pixels: Pixels, config: TrainConfig, epoch: int, index: int) -> Pixels:
    """An image as the network sees it in an epoch, of the same shape; always the same."""
    rng = np.random.default_rng((config.seed, epoch, index))
    match config.augmentation:
        case "none":
            return pixels
        case "flips":
            return flip(pixels, rng)
        case "erasing":
            return erase(pixels, rng)
        case "jitter":
            return jitter(pixels, rng)
