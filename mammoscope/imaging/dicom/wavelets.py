"""Correct JPEG 2000 images decoded at reduced resolution to approximate plain pixel means."""

from functools import cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mammoscope.imaging.arrays import Words

_IRREVERSIBLE: Final = (
    0.602949018236360,
    0.266864118442875,
    -0.078223266528990,
    -0.016864118442875,
    0.026748757410810,
)
"""Low-pass filter of the 9-7 wavelet, from the centre outwards: ISO/IEC 15444-1 annex F, after
Antonini M, Barlaud M, Mathieu P, Daubechies I. IEEE Trans Image Process 1992;1:205-220."""

_REVERSIBLE: Final = (0.75, 0.25, -0.125)
"""Low-pass filter of the 5-3 wavelet, without its rounding."""

_TAPS: Final = 4
"""Number of samples mixed into one: the two nearest to its centre and their neighbours."""

_LATER_MEAN: Final = 3
"""Number of samples, along a side, that the network's input later averages, approximately. Means of
this many samples should agree."""


def centred(words: Words, levels: int, *, reversible: bool) -> Words:
    """Correct the shift of an image decoded without its finest `levels`.

    The low band's filters are centred on the first pixel of each sample (ISO/IEC 15444-1 annex F),
    not on the middle of its pixels. Each level therefore shifts the image by half a pixel of that
    level.

    Parameters
    ----------
    words
        uint8 or uint16 (H, W), as decoded; the result has the same shape and type.
    levels
        Number of resolutions left out, from 0 to 3.
    reversible
        Whether the wavelet was 5-3, as in losslessly compressible codestreams.
    """
    if not levels:
        return words
    taps = _nearest_to_means(levels, _REVERSIBLE if reversible else _IRREVERSIBLE)
    before = taps.size // 2 - 1
    return np.asarray(
        cv2.sepFilter2D(
            words, -1, taps, taps, anchor=(before, before), borderType=cv2.BORDER_REPLICATE
        )
    )


@cache
def _nearest_to_means(levels: int, one_sided: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Mix samples of a low band to approximate the mean of the pixels as closely as possible.

    The noise of the band differs from that of pixel means. Linear interpolation would remove so
    much noise from the 9-7 wavelet's band that the network's scores would change. The weights are a
    least-squares fit, optimal for white noise, under the constraint that they sum to one.
    """
    factor = 2**levels
    low_pass = np.array([1.0])
    for level in range(levels):
        one = np.zeros(2 * (len(one_sided) - 1) * 2**level + 1)
        one[:: 2**level] = (*one_sided[:0:-1], *one_sided)
        low_pass = np.convolve(low_pass, one)
    first = 1 - _TAPS // 2
    reach = low_pass.size // 2
    later = np.zeros((_LATER_MEAN - 1) * factor + 1)
    later[::factor] = 1.0 / _LATER_MEAN

    def over_pixels(start: int, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        row = np.zeros(2 * reach + _TAPS * factor)
        at = start - first * factor + reach
        row[at : at + weights.size] = weights
        return np.convolve(row, later)

    mean = over_pixels(0, np.full(factor, 1.0 / factor))
    samples = np.stack(
        [over_pixels((first + tap) * factor - reach, low_pass) for tap in range(_TAPS)]
    )
    # The first tap follows from the others, because the weights sum to one.
    others = samples[1:] - samples[0]
    free, *_ = np.linalg.lstsq(others.T, mean - samples[0], rcond=None)
    return np.array([1.0 - free.sum(), *free])
