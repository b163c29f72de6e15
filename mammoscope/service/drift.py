"""Drift: compare incoming images with the training images.

A few statistics of each image are kept. Their distribution over the latest images is compared with
the deciles over the training images, from the model's card.
"""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from mammoscope.model.prediction import Prediction

WINDOW: Final = 500
"""Number of latest images to compare with the training images."""

LEAST: Final = 200
"""Minimum number of images for an index: with fewer, chance alone changes it by 0.08."""

ALARMING: Final = 0.25
"""Index above which the population counts as different.

References
----------
Yurdakul B, Naranjo J. Statistical properties of the population stability index. Journal of Risk
Model Validation 2020;14(4). Under no drift the index is about chi-squared with 9 degrees of
freedom, over the number of images: 0.034 at the 95th percentile for 500.
"""

_DECILES: Final = tuple(round(0.1 * step, 1) for step in range(1, 10))
_EMPTY: Final = 1e-3
"""Share used for an empty bin, because the logarithm of 0 is undefined."""


def statistics(prediction: Prediction) -> dict[str, float]:
    """Return statistics of one image and its logit.

    Returns
    -------
    dict
        ``logit``, unbounded; ``breast_share`` of the image, in (0, 1]; ``brightness`` and
        ``contrast``, mean and standard deviation of the grey values in the breast, of [0, 1].
    """
    preprocessed = prediction.preprocessed
    grey = preprocessed.search_copy[preprocessed.breast]
    return {
        "logit": prediction.logit,
        "breast_share": preprocessed.breast_share,
        "brightness": float(grey.mean()),
        "contrast": float(grey.std()),
    }


def deciles(values: Sequence[float]) -> tuple[float, ...]:
    """Return the nine values that divide `values` into ten parts of equal size."""
    return tuple(float(value) for value in np.quantile(np.asarray(values), _DECILES))


def stability_index(values: Sequence[float], reference: Sequence[float]) -> float:
    """Return the population stability index of values against a reference's deciles, at least 0.

    Parameters
    ----------
    values
        Must not be empty.
    reference
        Deciles, ascending. Equal deciles are merged into one bin.
    """
    limits, counts = np.unique(np.asarray(reference), return_counts=True)
    expected = np.append(counts, len(reference) + 1 - counts.sum()) / (len(reference) + 1)
    found = np.bincount(np.searchsorted(limits, values, side="left"), minlength=len(limits) + 1)
    shares = np.maximum(found / len(values), _EMPTY)
    return float(((shares - expected) * np.log(shares / expected)).sum())


class Drift:
    """Compares the latest images with the training images; thread-safe.

    Parameters
    ----------
    references
        Deciles of each statistic over the training images.
    """

    def __init__(self, references: Mapping[str, Sequence[float]]) -> None:
        self._references: Final = dict(references)
        self._lock = threading.Lock()
        self._recent: dict[str, deque[float]] = {
            name: deque(maxlen=WINDOW) for name in self._references
        }

    def add(self, found: Mapping[str, float]) -> None:
        """Add the statistics of an image."""
        with self._lock:
            for name, recent in self._recent.items():
                if name in found:
                    recent.append(found[name])

    def indices(self) -> dict[str, float]:
        """Return the stability index of each statistic with enough images."""
        with self._lock:
            recent = {name: list(values) for name, values in self._recent.items()}
        return {
            name: stability_index(values, self._references[name])
            for name, values in recent.items()
            if len(values) >= LEAST
        }
