"""Whether an image is a mammogram that can be judged, and if not why, in words.

A network answers whatever it is shown. This gate knows nothing of the network: it asks whether
the image looks like one breast on an empty background, as every mammogram does whatever its
scanner. It measures the search copy of `mammoscope.imaging.preprocessing`, so that padding,
inversion, mirroring and the aspect ratio of the export change nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mammoscope.errors import NotAMammogramError
from mammoscope.imaging.mammogram import Mammogram
from mammoscope.imaging.preprocessing import Preprocessed

Grey = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# The limits stand well outside what 529 images of the Kaggle set's training split measure (their
# range is given at each), so that other scanners pass as well. `mammoscope dev quality`
# prints what share of any folder is refused, and why.

MOST_COLOURED: Final = 0.05
"""Share of the image that may be coloured: an annotation, no photograph. Measured: 0."""

LEAST_CHEST_WALL: Final = 0.50
"""Share of the image's height along which the breast lies on one side. Measured: from 0.56."""

MOST_OPPOSITE: Final = 0.65
"""Share of the height along which it may reach the other side too. Measured: to 0.36; the largest
breasts of all 2,647 images for training and validation to 0.56."""

LEAST_BACKGROUND: Final = 0.03
"""Share of the image that is background. Measured: from 0.08; of all 2,647 from 0.04."""

LEAST_EMPTY: Final = 0.88
"""Share of the background that has one grey value. Measured: from 0.95."""

LEAST_SOLIDITY: Final = 0.40
"""Area of the breast over that of its convex hull. Measured: from 0.60."""

MOST_HOLES: Final = 0.01
"""Share of the breast's outline that is no breast. Measured: 0."""

TEXTURE: Final = (0.06, 0.80)
"""Contrast of fine texture over that of all texture. Measured: 0.14 to 0.66; phantoms from 0.09."""

DETAIL: Final = (-2.0, 1.1)
"""Logarithm of the ratio of texture of 1 to 2 search pixels to finer texture: low for noise and
print, high for enlarged and drawn images. Measured: -1.6 to 0.7."""

MOST_EDGES: Final = 300.0
"""Steepest edges (99th percentile of the gradient) over the median gradient: beyond it, most of
the object is flat, so somebody drew it. Measured: 3 to 37."""

_EDGE: Final = 6
"""Breadth in search pixels within which an object lies on the image's edge."""

_MARGIN: Final = 9
"""Side in search pixels of what is left out on both sides of the skin line."""

_FEWEST_PIXELS: Final = 100
"""Search pixels that are measured at least."""

_SAME_GREY: Final = 0.05
"""Share of the full range within which grey values of the background count as one."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """What is measured of an image.

    All are shares in [0, 1] but `detail`, a logarithm, and `texture` and `edges`, ratios.
    """

    coloured: float
    chest_wall: float
    opposite: float
    background: float
    empty: float
    solidity: float
    holes: float
    texture: float
    detail: float
    edges: float


def measure(mammogram: Mammogram, preprocessed: Preprocessed) -> Appearance:
    """Measure the image that `preprocessing` was made of."""
    small, breast = preprocessed.search_copy, preprocessed.breast
    if preprocessed.mirrored:
        small, breast = small[:, ::-1], breast[:, ::-1]
    kernel = np.ones((_MARGIN, _MARGIN), np.uint8)
    background = cv2.dilate(breast.astype(np.uint8), kernel) == 0
    # Outside the image counts as breast, so that its edge along the chest wall is not left out.
    inside = cv2.erode(breast.astype(np.uint8), kernel, borderValue=1) > 0
    solidity, holes = _outline(breast)
    inside = inside if inside.sum() >= _FEWEST_PIXELS else breast
    texture, detail = _texture(small, inside)
    return Appearance(
        coloured=mammogram.source.coloured,
        chest_wall=float(breast[:, :_EDGE].any(axis=1).mean()),
        opposite=float(breast[:, -_EDGE:].any(axis=1).mean()),
        background=float(background.mean()),
        empty=_emptiness(small[background]),
        solidity=solidity,
        holes=holes,
        texture=texture,
        detail=detail,
        edges=_edges(small, inside),
    )


def reasons(appearance: Appearance) -> tuple[str, ...]:
    """Why an image of this appearance is no mammogram that can be judged; empty if it is."""
    return tuple(_reasons(appearance))


def require_mammogram(mammogram: Mammogram, preprocessed: Preprocessed) -> None:
    """Let mammograms pass.

    Raises
    ------
    NotAMammogramError
        If the image is none, or none that can be judged; the message says why.
    """
    if found := reasons(measure(mammogram, preprocessed)):
        raise NotAMammogramError(
            f"The image does not look like a mammogram of one breast: {'; '.join(found)}."
        )


def discrepancies(mammogram: Mammogram, preprocessed: Preprocessed) -> tuple[str, ...]:
    """What the source says of the image that the image itself contradicts, in words."""
    said, seen = mammogram.exposure.chest_wall, preprocessed.chest_wall
    if said is None or said == seen:
        return ()
    return (
        f"By its DICOM object the chest wall should lie on the {said}, and it lies on the {seen}: "
        "the image is mirrored, or its laterality or orientation is wrong.",
    )


def _reasons(seen: Appearance) -> Iterator[str]:
    if seen.coloured > MOST_COLOURED:
        yield "it has colours"
    if seen.chest_wall < LEAST_CHEST_WALL:
        yield "its largest object does not lie along the left or right edge, as a breast does"
    if seen.opposite > MOST_OPPOSITE:
        yield "its largest object reaches from the left edge to the right"
    if seen.background < LEAST_BACKGROUND:
        yield "it has no background around the breast"
    elif seen.empty < LEAST_EMPTY:
        yield "the background is not empty"
    if seen.solidity < LEAST_SOLIDITY or seen.holes > MOST_HOLES:
        yield "the outline of its largest object is not that of a breast"
    if not TEXTURE[0] <= seen.texture <= TEXTURE[1] or not DETAIL[0] <= seen.detail <= DETAIL[1]:
        yield "it does not have the texture of breast tissue"
    elif seen.edges > MOST_EDGES:
        yield "it is drawn rather than exposed: most of it is flat"


def _emptiness(background: Grey) -> float:
    """Share of the background's grey values that equal their median, nearly."""
    if background.size < _FEWEST_PIXELS:
        return 1.0
    return float((np.abs(background - np.median(background)) < _SAME_GREY).mean())


def _outline(breast: Mask) -> tuple[float, float]:
    """Solidity of the breast's outline, and the share of it that is holes."""
    mask = breast.astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=cv2.contourArea)
    filled = cv2.drawContours(np.zeros_like(mask), [contour], -1, 1, cv2.FILLED)
    hull = cv2.fillPoly(np.zeros_like(mask), [cv2.convexHull(contour)], 1)
    area = float(filled.sum())
    return area / float(hull.sum()), 1.0 - float(mask.sum()) / area


def _texture(small: Grey, inside: Mask) -> tuple[float, float]:
    """Relative contrast of fine texture, and how it is spread over the finest two octaves."""
    finer, coarser = (cv2.GaussianBlur(small, (0, 0), sigma) for sigma in (1.0, 2.0))
    all_contrast = float(small[inside].std())
    fine = float((small - coarser)[inside].std())
    finest = float((small - finer)[inside].var())
    next_octave = float((finer - coarser)[inside].var())
    smallest = 1e-9  # variance of an image of one value, so that there is a logarithm
    detail = float(np.log((next_octave + smallest) / (finest + smallest)))
    return fine / max(all_contrast, 1e-3), detail


def _edges(small: Grey, inside: Mask) -> float:
    """How much steeper the steepest edges are than the rest."""
    across, down = (cv2.Sobel(small, cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1)))
    median, steepest = np.quantile(np.hypot(across, down)[inside], (0.5, 0.99))
    return float(steepest / max(median, 1e-4))
