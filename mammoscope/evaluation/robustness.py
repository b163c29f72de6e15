"""Measure what a score wrongly depends on, and whether the heat map shows what it rests on.

Each image is changed in ways that do not concern the patient, and the same engine predicts again.
Then the hottest cells of its heat map are erased and, for comparison, as many random cells.
"""

import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from mammoscope.data.dataset import Example
from mammoscope.errors import EmptyDatasetError, ImageError
from mammoscope.evaluation.evaluate import RefusedExample, map_ahead
from mammoscope.evaluation.metrics.intervals import Interval, bootstrap
from mammoscope.imaging.arrays import FloatArray
from mammoscope.imaging.heat_map import cell_centres
from mammoscope.imaging.mammogram import Mammogram
from mammoscope.imaging.preprocessing import erase_tissue
from mammoscope.imaging.reading import read, read_file
from mammoscope.model.engine import Engine
from mammoscope.model.prediction import Prediction

JPEG_QUALITY: Final = 75
PADDING: Final = 0.05
"""Padding at both ends of each side, as a share of the side."""

SHIFT: Final = 0.02
"""Maximum shift along each axis, as a share of the side."""

STRETCH: Final = 1.33
"""Maximum factor by which the image is widened or narrowed."""

ERASED: Final = 0.10
"""Share of the breast's cells to erase."""

RANDOM_DRAWS: Final = 5
"""Number of draws of random cells to erase in each image; each is compared with the hottest."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Changes of one image's score.

    Parameters
    ----------
    example
        The image.
    changes
        Absolute change of the probability by name of the change; None if the changed image was
        refused.
    hottest
        Change of the logit after erasing the hottest cells.
    random
        Changes of the logit after erasing random cells, one per draw.
    """

    example: Example
    changes: Mapping[str, float | None]
    hottest: float
    random: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and 95th percentile of the sizes of a change, and the number of refusals.

    ``count`` is the number of measured images, ``refused`` the number of images accepted before the
    change and refused after it. The percentiles are NaN without measured images.
    """

    median: float
    high: float
    count: int
    refused: int

    @classmethod
    def of(cls, sizes: Sequence[float | None]) -> "Spread":
        """Summarise sizes; None stands for a refused image."""
        known = [size for size in sizes if size is not None]
        median, high = np.quantile(known, (0.5, 0.95)) if known else (np.nan, np.nan)
        return cls(float(median), float(high), len(known), len(sizes) - len(known))

    def to_json(self) -> dict[str, float | int | None]:
        """Return a JSON object; undefined numbers are null."""
        known = self.count > 0
        return {
            "median": self.median if known else None,
            "percentile_95": self.high if known else None,
            "pictures": self.count,
            "refused": self.refused,
        }


@dataclass(frozen=True, slots=True)
class Robustness:
    """Summary of all trials of a split.

    ``hottest`` and ``random`` summarise sizes of changes. In each comparison, erasing the hottest
    cells is compared with one draw of random cells. ``larger`` is the share in which the hottest
    cells change the logit more. ``lower`` is the share in which they leave a lower logit, as
    expected if heat is evidence of a tumour. Both have intervals by patient. Equal changes count
    half, so a meaningless heat map reaches 0.5.
    """

    changes: Mapping[str, Spread]
    hottest: Spread
    random: Spread
    larger: Interval
    lower: Interval
    images: int
    refused: int

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "pictures": self.images,
            "refused": self.refused,
            "probability_change": {name: each.to_json() for name, each in self.changes.items()},
            "erasing": {
                "share_of_cells": ERASED,
                "logit_change_hottest": self.hottest.to_json(),
                "logit_change_random": self.random.to_json(),
                "hottest_above_random": self.larger.to_json(),
                "hottest_below_random_signed": self.lower.to_json(),
            },
        }


def try_examples(
    examples: Iterable[Example], engine: Engine, *, seed: int = 0
) -> Iterator[Trial | RefusedExample]:
    """Change images, erase cells and predict, in threads; yields one outcome per image, in order.

    Random draws depend on `seed` and the image, not on the other images.
    """

    def attempt(example: Example) -> Trial | RefusedExample:
        rng = np.random.default_rng([seed, zlib.crc32(example.image_id.encode())])
        try:
            mammogram = read_file(example.path)
            prediction = engine.predict(mammogram)
        except ImageError as err:
            return RefusedExample(example, err.code, str(err))
        changes = {
            name: _change_of_probability(change(mammogram, rng), prediction, engine)
            for name, change in CHANGES.items()
        }
        hottest, random = _erase(prediction, engine, rng)
        return Trial(example, changes, hottest, random)

    return map_ahead(attempt, examples)


def summarise(outcomes: Sequence[Trial | RefusedExample]) -> Robustness:
    """Summarise the trials of a split.

    Raises
    ------
    EmptyDatasetError
        If every image was refused.
    """
    trials = [outcome for outcome in outcomes if isinstance(outcome, Trial)]
    if not trials:
        raise EmptyDatasetError("Every image was refused; there is nothing to evaluate.")
    larger = _share_won([(abs(t.hottest), [abs(each) for each in t.random]) for t in trials])
    lower = _share_won([(-t.hottest, [-each for each in t.random]) for t in trials])
    _, patients = np.unique([trial.example.patient_id for trial in trials], return_inverse=True)
    labels = np.array([trial.example.label for trial in trials], dtype=np.int64)
    shares = bootstrap(
        lambda weights: {
            "larger": weights @ larger / weights.sum(axis=1),
            "lower": weights @ lower / weights.sum(axis=1),
        },
        labels,
        patients.astype(np.int64),
    )
    return Robustness(
        changes={name: Spread.of([trial.changes[name] for trial in trials]) for name in CHANGES},
        hottest=Spread.of([abs(trial.hottest) for trial in trials]),
        random=Spread.of([abs(each) for trial in trials for each in trial.random]),
        larger=shares["larger"],
        lower=shares["lower"],
        images=len(trials),
        refused=len(outcomes) - len(trials),
    )


def _share_won(contests: Sequence[tuple[float, Sequence[float]]]) -> FloatArray:
    """Share of its rivals that each number exceeds, ties counting half: float64 (N,)."""
    return np.array(
        [
            np.mean([(one > rival) + 0.5 * (one == rival) for rival in rivals])
            for one, rivals in contests
        ],
        dtype=np.float64,
    )


def _change_of_probability(changed: Mammogram, before: Prediction, engine: Engine) -> float | None:
    try:
        after = engine.predict(changed)
    except ImageError:
        return None
    return abs(after.probability - before.probability)


def _erase(
    prediction: Prediction, engine: Engine, rng: np.random.Generator
) -> tuple[float, tuple[float, ...]]:
    """Change of the logit after erasing the hottest cells, and after each draw of random ones."""
    preprocessed, logit_map = prediction.preprocessed, prediction.logit_map
    owners = _owners(logit_map.shape, preprocessed.ranks.shape)
    tissue = preprocessed.ranks > 0
    areas = np.bincount(owners.ravel(), minlength=logit_map.size)
    breast = np.bincount(owners[tissue], minlength=logit_map.size)
    # Cells that are mostly background have little tissue to erase.
    cells = np.flatnonzero(breast > areas / 2)
    if cells.size == 0:
        cells = np.flatnonzero(breast)
    count = max(1, round(ERASED * cells.size))
    chosen = [cells[np.argsort(-logit_map.ravel()[cells], kind="stable")[:count]]]
    chosen += [rng.choice(cells, count, replace=False) for _ in range(RANDOM_DRAWS)]
    erased = np.stack([erase_tissue(preprocessed.pixels, np.isin(owners, each)) for each in chosen])
    first, *others = (engine.infer(erased).logits - prediction.logit).tolist()
    return first, tuple(others)


def _owners(cells: tuple[int, ...], pixels: tuple[int, ...]) -> npt.NDArray[np.intp]:
    """Index of the cell whose centre is nearest to each pixel: int (H, W)."""
    rows, columns = (
        np.abs(np.arange(length)[:, None] - cell_centres(count, length)).argmin(axis=1)
        for count, length in zip(cells, pixels, strict=True)
    )
    return np.asarray(rows[:, None] * cells[1] + columns, dtype=np.intp)


def _stretched(mammogram: Mammogram, rng: np.random.Generator) -> Mammogram:
    height, width = mammogram.pixels.shape
    factor = STRETCH ** rng.uniform(-1.0, 1.0)
    size = (max(1, round(width * factor)), height)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return _like(mammogram, cv2.resize(mammogram.pixels, size, interpolation=method))


def _shrunk(width: float, height: float) -> Callable[[Mammogram, np.random.Generator], Mammogram]:
    """Return a change that resamples to these shares of the sides, as viewers make copies."""

    def shrink(mammogram: Mammogram, _: np.random.Generator) -> Mammogram:
        rows, columns = mammogram.pixels.shape
        size = (max(1, round(columns * width)), max(1, round(rows * height)))
        return _like(mammogram, cv2.resize(mammogram.pixels, size, interpolation=cv2.INTER_AREA))

    return shrink


def _recompressed(mammogram: Mammogram, _: np.random.Generator) -> Mammogram:
    eight_bit = np.rint(mammogram.pixels * 255.0).astype(np.uint8)
    return _saved(eight_bit, "JPEG", quality=JPEG_QUALITY)


def _sixteen_bit(mammogram: Mammogram, _: np.random.Generator) -> Mammogram:
    return _saved(np.rint(mammogram.pixels * 65535.0).astype(np.uint16), "PNG", compress_level=1)


def _padded(grey: float) -> Callable[[Mammogram, np.random.Generator], Mammogram]:
    def pad(mammogram: Mammogram, _: np.random.Generator) -> Mammogram:
        rows, columns = (max(1, round(side * PADDING)) for side in mammogram.pixels.shape)
        around = ((rows, rows), (columns, columns))
        return _like(mammogram, np.pad(mammogram.pixels, around, constant_values=grey))

    return pad


def _shifted(mammogram: Mammogram, rng: np.random.Generator) -> Mammogram:
    """Shift the image; uncovered pixels repeat the edge."""
    height, width = mammogram.pixels.shape
    x, y = rng.uniform(-SHIFT, SHIFT, 2) * (width, height)
    move = np.array([[1.0, 0.0, round(x)], [0.0, 1.0, round(y)]])
    moved = cv2.warpAffine(
        mammogram.pixels,
        move,
        (width, height),
        flags=cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return _like(mammogram, moved)


CHANGES: Final[Mapping[str, Callable[[Mammogram, np.random.Generator], Mammogram]]] = {
    "inversion": lambda image, _: _like(image, 1.0 - image.pixels),
    "mirroring": lambda image, _: _like(image, image.pixels[:, ::-1]),
    "anisotropic stretch": _stretched,
    f"JPEG at quality {JPEG_QUALITY}": _recompressed,
    "16-bit copy": _sixteen_bit,
    f"padding by {PADDING:.0%}, black": _padded(0.0),
    f"padding by {PADDING:.0%}, white": _padded(1.0),
    f"shift by up to {SHIFT:.0%}": _shifted,
    "half the width": _shrunk(0.5, 1.0),
    "half of both sides": _shrunk(0.5, 0.5),
}
"""Changes that do not concern the patient, by name."""


def _like(mammogram: Mammogram, pixels: npt.ArrayLike) -> Mammogram:
    """Return an image with other pixels from the same source."""
    made = np.ascontiguousarray(np.clip(pixels, 0.0, 1.0), dtype=np.float32)
    height, width = made.shape
    return Mammogram(made, replace(mammogram.source, width=width, height=height))


def _saved(samples: npt.NDArray[np.generic], kind: str, **options: Any) -> Mammogram:
    stream = io.BytesIO()
    Image.fromarray(samples).save(stream, kind, **options)
    return read(stream.getvalue())
