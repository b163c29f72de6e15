"""Whether the images that come are like those that the model was made with.

Of each image a few numbers are kept, and how they are spread over the last images is compared
with how they were spread over the training images, whose deciles travel in the model's card.
"""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from mammoscope.model.engine import Judgement

WINDOW: Final = 500
"""Images that are compared with the training images."""

LEAST: Final = 200
"""Images below which nothing is said: chance alone would move the index by 0.08."""

ALARMING: Final = 0.25
"""Index from which a population counts as another one.

References
----------
Yurdakul B, Naranjo J. Statistical properties of the population stability index. Journal of Risk
Model Validation 2020;14(4). Under no drift the index is about chi-squared with 9 degrees of
freedom, over the number of images: 0.034 at the 95th percentile for 500.
"""

_DECILES: Final = tuple(round(0.1 * step, 1) for step in range(1, 10))
_EMPTY: Final = 1e-3
"""Share that an empty bin counts as, since there is no logarithm of 0."""


def statistics(judged: Judgement) -> dict[str, float]:
    """Numbers that say what an image looks like and what the network says of it.

    Returns
    -------
    dict
        ``logit``, unbounded; ``breast_share`` of the image, in (0, 1]; ``brightness`` and
        ``contrast``, mean and standard deviation of the grey values in the breast, of [0, 1].
    """
    preprocessed = judged.preprocessed
    grey = preprocessed.search_copy[preprocessed.breast]
    return {
        "logit": judged.prediction.logit,
        "breast_share": preprocessed.breast_share,
        "brightness": float(grey.mean()),
        "contrast": float(grey.std()),
    }


def deciles(values: Sequence[float]) -> tuple[float, ...]:
    """The nine values that divide `values` into ten parts of the same size."""
    return tuple(float(value) for value in np.quantile(np.asarray(values), _DECILES))


def stability_index(values: Sequence[float], reference: Sequence[float]) -> float:
    """Population stability index of values against the deciles of a reference, at least 0.

    Parameters
    ----------
    values
        At least one.
    reference
        Deciles, ascending. Where some are equal, the parts between them are one.
    """
    limits, counts = np.unique(np.asarray(reference), return_counts=True)
    expected = np.append(counts, len(reference) + 1 - counts.sum()) / (len(reference) + 1)
    found = np.bincount(np.searchsorted(limits, values, side="left"), minlength=len(limits) + 1)
    shares = np.maximum(found / len(values), _EMPTY)
    return float(((shares - expected) * np.log(shares / expected)).sum())


class Drift:
    """The last images beside the training images; safe to use from several threads.

    Parameters
    ----------
    references
        Deciles of each statistic over the training images.
    """

    def __init__(self, references: Mapping[str, Sequence[float]]) -> None:
        self._references: Final = dict(references)
        self._lock = threading.Lock()
        self._seen: dict[str, deque[float]] = {
            name: deque(maxlen=WINDOW) for name in self._references
        }

    def see(self, found: Mapping[str, float]) -> None:
        """Take up the statistics of an image."""
        with self._lock:
            for name, seen in self._seen.items():
                if name in found:
                    seen.append(found[name])

    def indices(self) -> dict[str, float]:
        """Stability index of each statistic of which enough was seen."""
        with self._lock:
            seen = {name: list(values) for name, values in self._seen.items()}
        return {
            name: stability_index(values, self._references[name])
            for name, values in seen.items()
            if len(values) >= LEAST
        }
