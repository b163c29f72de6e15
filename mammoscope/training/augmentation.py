"""Random changes of preprocessed images that preserve the diagnosis."""

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mammoscope.imaging.arrays import Pixels
from mammoscope.imaging.preprocessing import erase_tissue

_ERASED_SQUARES: Final = (1, 4)
"""Minimum and maximum number of squares that `erase` erases."""

_ERASED_SIDE: Final = (0.06, 0.14)
"""Minimum and maximum side of such a square, as a share of the image's shorter side."""

_SHIFT_PX: Final = 3.0
_SCALE: Final = 0.03
"""Maximum shift of each crop edge: two steps of the search copy's grid."""

_BLUR_PX: Final = (0.3, 0.6)
"""Minimum and maximum standard deviation of the blur, similar to that of other resampling."""

_SHRINK: Final = 0.5
"""Smallest share of rows and columns that a copy keeps; more are refused, or shown with a warning.
"""

_NOISE: Final = 4.0
"""Maximum standard deviation of the noise; ranks have 255 levels."""


def flip(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Flip top and bottom with probability 0.5; the chest wall stays on the left."""
    return pixels[::-1] if rng.random() < 0.5 else pixels


def erase(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Flip, and erase the tissue in a few squares with probability 0.5.

    A network trained with erased tissue does not take it for a finding, and learns to use more than
    one sign of disease.

    Parameters
    ----------
    pixels
        uint8 (H, W) or (H, W, 3), as returned by `mammoscope.imaging.preprocessing.preprocess`.
    rng
        Source of randomness: equal states give equal images.

    References
    ----------
    Zhong Z, Zheng L, Kang G, Li S, Yang Y. Random erasing data augmentation. AAAI 2020.
    """
    flipped = flip(pixels, rng)
    if rng.random() < 0.5:
        return flipped
    height, width = flipped.shape[:2]
    where = np.zeros((height, width), dtype=np.bool_)
    for _ in range(int(rng.integers(_ERASED_SQUARES[0], _ERASED_SQUARES[1] + 1))):
        side = max(1, round(min(height, width) * float(rng.uniform(*_ERASED_SIDE))))
        top = int(rng.integers(0, height - side + 1))
        left = int(rng.integers(0, width - side + 1))
        where[top : top + side, left : left + side] = True
    return erase_tissue(flipped, where)


def copy(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Flip, and imitate the differences between copies of an image.

    The crop moves by a few pixels, a low pass blurs as other resampling does, the image shrinks to
    fewer rows and columns and grows again, and the grey values get noise, each with probability
    0.5. A network trained this way gives all copies of an image nearly the same score.

    Parameters
    ----------
    pixels
        uint8 (H, W) or (H, W, 3), as returned by `mammoscope.imaging.preprocessing.preprocess`.
    rng
        Source of randomness: equal states give equal images.

    Returns
    -------
    ndarray
        uint8 of the same shape; beyond the image, its edges are repeated.
    """
    return _as_copy(flip(pixels, rng), rng)


def jitter(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Erase tissue as `erase` does, and change the image as `copy` does."""
    return _as_copy(erase(pixels, rng), rng)


def _as_copy(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    changed: npt.NDArray[Any] = np.ascontiguousarray(pixels)
    height, width = changed.shape[:2]
    if rng.random() < 0.5:
        scale = 1.0 + rng.uniform(-_SCALE, _SCALE, size=2)
        shift = rng.uniform(-_SHIFT_PX, _SHIFT_PX, size=2)
        changed = cv2.warpAffine(
            changed,
            np.column_stack([np.diag(scale), shift]),
            (width, height),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
    if rng.random() < 0.5:
        changed = cv2.GaussianBlur(changed, (0, 0), float(rng.uniform(*_BLUR_PX)))
    if rng.random() < 0.5:
        rows, columns = rng.uniform(_SHRINK, 1.0, size=2)
        if rng.random() < 0.5:  # most copies keep the proportions
            rows = columns
        size = (max(1, round(width * columns)), max(1, round(height * rows)))
        small = cv2.resize(changed, size, interpolation=cv2.INTER_AREA)
        changed = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        noise = rng.normal(0.0, rng.uniform(0.0, _NOISE), changed.shape)
        # 0 means outside the breast and stays 0.
        changed = np.where(changed > 0, np.clip(np.rint(changed + noise), 1, 255), 0)
    return np.asarray(changed, dtype=np.uint8)
