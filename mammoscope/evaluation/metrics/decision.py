"""Net benefit of acting on a score, compared with acting on everybody and on nobody."""

import numpy as np
import numpy.typing as npt

from mammoscope.imaging.arrays import FloatArray, IntArray


class NetBenefit:
    """Net benefit at many threshold probabilities, for many weightings at once.

    At a threshold t, one false alarm costs t / (1 - t) of the benefit of one detected tumour. The
    choice of a threshold implies this exchange rate.

    Parameters
    ----------
    probabilities
        Calibrated probabilities (N,) in [0, 1].
    labels
        Labels (N,), 0 or 1.
    thresholds
        Threshold probabilities (T,) in [0, 1).

    References
    ----------
    A. Vickers, E. Elkin, "Decision curve analysis", Med. Decis. Making 26, 2006.
    """

    def __init__(
        self, probabilities: npt.ArrayLike, labels: IntArray, thresholds: FloatArray
    ) -> None:
        acted = np.asarray(probabilities, np.float64)[:, None] >= thresholds[None, :]
        worth = np.where(labels[:, None] == 1, 1.0, -thresholds / (1.0 - thresholds))
        self._worth = np.where(acted, worth, 0.0)
        self._worth_of_all = worth

    def __call__(self, weights: FloatArray) -> FloatArray:
        """Net benefit per image (R, T) of acting on the score, for weights (R, N)."""
        return _mean(self._worth, weights)

    def of_acting_on_all(self, weights: FloatArray) -> FloatArray:
        """Net benefit per image (R, T) of acting on every image; that of acting on none is 0."""
        return _mean(self._worth_of_all, weights)


def _mean(worth: FloatArray, weights: FloatArray) -> FloatArray:
    return np.asarray(weights @ worth / weights.sum(axis=1, keepdims=True), np.float64)
