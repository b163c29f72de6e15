"""Measure the outline of the object found as the breast, and tell whether it is a breast's.

The limits leave a wide margin around the values measured on 529 images of the Kaggle set's training
split, given at each limit, so that other scanners pass as well.
"""

from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np

from mammoscope.imaging.arrays import Mask

LEAST_CHEST_WALL: Final = 0.50
"""Minimum share of the height along which the breast touches one side. Measured: from 0.56."""

MOST_OPPOSITE: Final = 0.65
"""Maximum share of the height along which it touches the other side. Measured: up to 0.36; up to
0.56 for the largest breasts of all 2,647 images for training and validation."""

LEAST_SOLIDITY: Final = 0.40
"""Minimum ratio of the breast's area to that of its convex hull. Measured: from 0.60."""

MOST_HOLES: Final = 0.01
"""Maximum share of holes within the breast's outline. Measured: 0."""

EDGE: Final = 6
"""Width in search pixels of the zone that counts as the image's edge."""


@dataclass(frozen=True, slots=True)
class Outline:
    """Measurements of an outline; all are shares in [0, 1]."""

    chest_wall: float
    opposite: float
    solidity: float
    holes: float

    @property
    def is_of_a_breast(self) -> bool:
        """Whether all measurements are within their limits."""
        return (
            self.chest_wall >= LEAST_CHEST_WALL
            and self.opposite <= MOST_OPPOSITE
            and self.solidity >= LEAST_SOLIDITY
            and self.holes <= MOST_HOLES
        )


def outline_of(breast: Mask) -> Outline:
    """Measure the breast on a search copy: bool (S, S), chest wall on either side."""
    mask = breast.astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=cv2.contourArea)
    filled = cv2.drawContours(np.zeros_like(mask), [contour], -1, 1, cv2.FILLED)
    hull = cv2.fillPoly(np.zeros_like(mask), [cv2.convexHull(contour)], 1)
    area = float(filled.sum())
    upright = breast if chest_wall_of(breast) == "left" else breast[:, ::-1]
    return Outline(
        chest_wall=float(upright[:, :EDGE].any(axis=1).mean()),
        opposite=float(upright[:, -EDGE:].any(axis=1).mean()),
        solidity=area / float(hull.sum()),
        holes=1.0 - float(mask.sum()) / area,
    )


def chest_wall_of(breast: Mask) -> Literal["left", "right"]:
    """Side on which the breast, without the empty columns around it, is taller."""
    occupied = np.flatnonzero(breast.any(axis=0))
    cropped = breast[:, occupied[0] : occupied[-1] + 1]
    half = cropped.shape[1] // 2
    return "left" if cropped[:, :half].sum() >= cropped[:, -half:].sum() else "right"
