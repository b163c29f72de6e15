"""Random changes that leave the diagnosis as it is, on preprocessed images."""

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mammoscope.imaging.preprocessing import erase_tissue

Pixels = npt.NDArray[np.uint8]

_ROTATION_DEG: Final = 20.0
_SCALE: Final = 0.2
_SHIFT: Final = 0.08
_GAMMA: Final = 0.35
_CONTRAST: Final = 0.2
_BRIGHTNESS: Final = 0.1
_BLUR_CHANCE: Final = 0.2
_CUT_OUT_CHANCE: Final = 0.5
_CUT_OUT_SIZE: Final = (0.08, 0.25)
"""Least and largest side of the blanked rectangle, as a share of the image's."""

_ERASED_PLACES: Final = (1, 4)
"""Least and largest number of squares that `erase` erases."""

_ERASED_SIDE: Final = (0.06, 0.14)
"""Least and largest side of such a square, as a share of the image's shorter side."""

_JITTER_SHIFT_PX: Final = 3.0
_JITTER_SCALE: Final = 0.03
"""Two steps of the search copy's grid, by which the crop may move on either side."""

_JITTER_BLUR_PX: Final = (0.3, 0.6)
"""Least and largest standard deviation: what other resampling does."""

_JITTER_NOISE: Final = 4.0
"""Largest standard deviation of the noise; ranks have 255 levels."""


def flip(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Exchange top and bottom in half of the cases; the chest wall stays on the left."""
    return pixels[::-1] if rng.random() < 0.5 else pixels


def erase(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Flip, and erase the tissue in a few squares in half of the cases.

    A network that has seen erased tissue does not take it for a finding, and has to look for more
    than one sign of disease.

    Parameters
    ----------
    pixels
        uint8 (H, W) as `mammoscope.imaging.preprocessing.preprocess` makes it.
    rng
        Source of every choice: equal states give equal images.

    References
    ----------
    Zhong Z, Zheng L, Kang G, Li S, Yang Y. Random erasing data augmentation. AAAI 2020.
    """
    flipped = flip(pixels, rng)
    if rng.random() < 0.5:
        return flipped
    height, width = flipped.shape
    where = np.zeros(flipped.shape, dtype=np.bool_)
    for _ in range(int(rng.integers(_ERASED_PLACES[0], _ERASED_PLACES[1] + 1))):
        side = max(1, round(min(height, width) * float(rng.uniform(*_ERASED_SIDE))))
        top = int(rng.integers(0, height - side + 1))
        left = int(rng.integers(0, width - side + 1))
        where[top : top + side, left : left + side] = True
    return erase_tissue(flipped, where)


def jitter(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Flip, erase, and change what another copy of the same image would change.

    The crop moves by parts of a pixel, other resampling blurs, grey values get noise: each in half
    of the cases. A network that has seen this answers alike to all copies.

    Parameters
    ----------
    pixels
        uint8 (H, W) as `mammoscope.imaging.preprocessing.preprocess` makes it.
    rng
        Source of every choice: equal states give equal images.

    Returns
    -------
    ndarray
        uint8 (H, W); at the image's edges what stands there goes on.
    """
    changed: npt.NDArray[Any] = np.ascontiguousarray(erase(pixels, rng))
    height, width = changed.shape
    if rng.random() < 0.5:
        scale = 1.0 + rng.uniform(-_JITTER_SCALE, _JITTER_SCALE, size=2)
        shift = rng.uniform(-_JITTER_SHIFT_PX, _JITTER_SHIFT_PX, size=2)
        changed = cv2.warpAffine(
            changed,
            np.column_stack([np.diag(scale), shift]),
            (width, height),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
    if rng.random() < 0.5:
        changed = cv2.GaussianBlur(changed, (0, 0), float(rng.uniform(*_JITTER_BLUR_PX)))
    if rng.random() < 0.5:
        noise = rng.normal(0.0, rng.uniform(0.0, _JITTER_NOISE), changed.shape)
        # 0 is the outside, and stays so.
        changed = np.where(changed > 0, np.clip(np.rint(changed + noise), 1, 255), 0)
    return np.asarray(changed, dtype=np.uint8)


def distort(pixels: Pixels, rng: np.random.Generator, strength: float = 1.0) -> Pixels:
    """Flip, rotate, scale by axis, shift, change grey values, blur, cut out.

    Parameters
    ----------
    pixels
        uint8 (H, W) as `mammoscope.imaging.preprocessing.preprocess` makes it.
    rng
        Source of every choice: equal states give equal images.
    strength
        Share in [0, 1] of the ranges and chances above that is used; flips stay at a half.

    Returns
    -------
    ndarray
        uint8 (H, W), a new array; what comes in from outside is 0.
    """
    height, width = pixels.shape
    moved = cv2.warpAffine(
        np.ascontiguousarray(flip(pixels, rng)),
        _affine(height, width, rng, strength),
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    changed = cv2.LUT(moved, _grey_curve(rng, strength))
    if rng.random() < strength * _BLUR_CHANCE:
        changed = cv2.GaussianBlur(changed, (0, 0), float(rng.uniform(0.4, 1.2)))
    if rng.random() < strength * _CUT_OUT_CHANCE:
        rows, columns = (
            max(1, int(side * rng.uniform(*_CUT_OUT_SIZE))) for side in (height, width)
        )
        top = int(rng.integers(0, height - rows + 1))
        left = int(rng.integers(0, width - columns + 1))
        changed[top : top + rows, left : left + columns] = 0
    return np.asarray(changed, dtype=np.uint8)


def _affine(
    height: int, width: int, rng: np.random.Generator, strength: float
) -> npt.NDArray[np.float64]:
    """Rotation and scaling about the centre, then a shift: float64 (2, 3)."""
    angle = strength * np.deg2rad(rng.uniform(-_ROTATION_DEG, _ROTATION_DEG))
    scale = np.exp(strength * rng.uniform(np.log(1 - _SCALE), np.log(1 + _SCALE), size=2))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = rotation * scale
    centre = np.array([width / 2.0, height / 2.0])
    shift = strength * rng.uniform(-_SHIFT, _SHIFT, size=2) * np.array([width, height])
    return np.column_stack([linear, centre - linear @ centre + shift])


def _grey_curve(rng: np.random.Generator, strength: float) -> Pixels:
    """Table of gamma, contrast and brightness that keeps 0, the outside, at 0: uint8 (256,)."""
    grey = np.linspace(0.0, 1.0, 256) ** np.exp(strength * rng.uniform(-_GAMMA, _GAMMA))
    grey = (grey - 0.5) * (1 + strength * rng.uniform(-_CONTRAST, _CONTRAST)) + 0.5
    grey = np.clip(grey + strength * rng.uniform(-_BRIGHTNESS, _BRIGHTNESS), 0.0, 1.0) * 255.0
    grey[0] = 0.0
    return np.asarray(np.rint(grey), dtype=np.uint8)
