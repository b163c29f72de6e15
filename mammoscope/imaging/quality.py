"""Whether an image is a mammogram that can be read, and if not why, in words.

A network answers whatever it is shown. This gate asks whether the image looks like one breast on
an empty background, as every mammogram does whatever its scanner. Its rules measure the search copy
of `mammoscope.imaging.preprocessing`, so that padding, inversion, mirroring and the aspect ratio of
the export change nothing. A `LearnedGate`, where the model's card has one, finds what they miss.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np

from mammoscope.errors import NotAMammogramError
from mammoscope.imaging.arrays import Grey, Mask
from mammoscope.imaging.learned_gate import LearnedGate
from mammoscope.imaging.mammogram import Mammogram
from mammoscope.imaging.preprocessing import Preprocessed

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

# The limits below refuse; where they are two, they refuse beyond the first and warn beyond the
# second.
# They are measured on 1,238 images of training and validation.

MOST_SEAM: Final = 0.55
"""Share of a column's height along which grey values jump: images put side by side. Measured: to
0.41, but for three."""

MOST_OTHERS: Final = (0.10, 0.06)
"""Area of the next largest object over that of the breast: there are two. Measured: to 0.05, but
for four."""

LEAST_NECK: Final = (0.06, 0.70)
"""Breadth of the narrowest place between two broader ones, over the less broad: two views that
hang together. Measured: 3 % lie below the second number."""

LEAST_UPRIGHT: Final = (0.93, 0.95)
"""Share of a breast's rows that begin at the chest wall, in an image whose columns all begin at the
top or all end at the bottom: less is a breast turned by 90 degrees. Measured: from 0.96, but for
one."""

TURNED_EDGE: Final = 0.97
"""Share of a turned breast's columns that begin at the top, or end at the bottom."""

LEAST_SCALE: Final = (0.5, 0.9)
"""Square root of the breast's pixels over the network input's. Measured: from 0.66; 1.6 % lie below
the second number."""

UNLIKE: Final = "its shape and its grey values are not those of a mammogram"
"""Why the learned gate refuses an image that no rule does."""

_JUMP: Final = 0.1
"""Share of the full range by which grey values differ on both sides of a seam."""

_EDGE: Final = 6
"""Breadth in search pixels within which an object lies on the image's edge."""

_MARGIN: Final = 9
"""Side in search pixels of what is left out on both sides of the skin line."""

_LABEL: Final = 7
"""Side of the opening in search pixels that leaves out what is thinner than a breast."""

_VIEW_BREADTH: Final = 0.25
"""Breadth of a view over that of the broadest, at least."""

_VIEW_AREA: Final = 0.1
"""Share of the area that a view covers at least: strips of a film's frame are smaller."""

_FEWEST_PIXELS: Final = 100
"""Search pixels that are measured at least."""

_SAME_GREY: Final = 0.05
"""Share of the full range within which grey values of the background count as one."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """What is measured of an image.

    All are shares in [0, 1] but `detail`, a logarithm, and `texture`, `edges`, `others`, `neck` and
    `scale`, ratios. `centred_down` says whether the breast's centre lies nearer to its upper or
    lower edge than to the chest wall.
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
    seam: float
    others: float
    neck: float
    upright: float
    vertical_edge: float
    centred_down: bool
    scale: float


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
        seam=_seam(small),
        others=_others(small, breast),
        neck=_neck(breast),
        scale=_scale(mammogram, preprocessed),
        **_position(breast),
    )


def reasons(appearance: Appearance) -> tuple[str, ...]:
    """Why an image of this appearance is no mammogram that can be read; empty if it is."""
    return tuple(_reasons(appearance))


def require_mammogram(
    mammogram: Mammogram, preprocessed: Preprocessed, gate: LearnedGate | None = None
) -> None:
    """Let mammograms pass.

    Parameters
    ----------
    mammogram, preprocessed
        The image, and what preprocessing made of it.
    gate
        Of the model's card; None asks the rules alone.

    Raises
    ------
    NotAMammogramError
        If the image is none, or none that can be read; the message says why.
    """
    seen = measure(mammogram, preprocessed)
    if seen.scale < LEAST_SCALE[0]:
        height, width = preprocessed.pixels.shape
        raise NotAMammogramError(
            f"The breast has too few pixels: {seen.scale:.2f} along a side for one of the "
            f"network's {width} x {height}, and at least {LEAST_SCALE[0]} are needed. Send the "
            "image in its full size, no thumbnail."
        )
    found = reasons(seen)
    if not found and gate is not None and gate.refuses(preprocessed):
        found = (UNLIKE,)
    if found:
        raise NotAMammogramError(
            f"The image does not look like a mammogram of one breast: {'; '.join(found)}."
        )


def discrepancies(
    mammogram: Mammogram, preprocessed: Preprocessed, gate: LearnedGate | None = None
) -> tuple[str, ...]:
    """What a person should know of an image that passes, in words."""
    found = tuple(_doubts(mammogram, preprocessed))
    if gate is not None and gate.doubts(preprocessed):
        return ("The image may be no mammogram: it does not look like most of them.", *found)
    return found


def _doubts(mammogram: Mammogram, preprocessed: Preprocessed) -> Iterator[str]:
    appearance = measure(mammogram, preprocessed)
    if appearance.scale < LEAST_SCALE[1]:
        yield (
            "The breast has fewer pixels than the network expects: "
            f"{appearance.scale:.2f} along a side for one of its input."
        )
    if appearance.neck < LEAST_NECK[1] or appearance.others > MOST_OTHERS[1]:
        yield "The image may show more than one breast or view."
    if _is_turned(appearance, LEAST_UPRIGHT[1]) or (
        appearance.vertical_edge > TURNED_EDGE and appearance.centred_down
    ):
        yield "The chest wall may lie at the top or bottom: the image may be turned by 90 degrees."
    said, seen = mammogram.exposure.chest_wall, preprocessed.chest_wall
    if said is None or said == seen:
        return
    yield (
        f"By its DICOM object the chest wall should lie on the {said}, and it lies on the {seen}: "
        "the image is mirrored, or its laterality or orientation is wrong."
    )


def _is_turned(seen: Appearance, least_upright: float) -> bool:
    return seen.vertical_edge > TURNED_EDGE and seen.upright < least_upright


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
    yield from _arrangements(seen)
    if not TEXTURE[0] <= seen.texture <= TEXTURE[1] or not DETAIL[0] <= seen.detail <= DETAIL[1]:
        yield "it does not have the texture of breast tissue"
    elif seen.edges > MOST_EDGES:
        yield "it is drawn rather than exposed: most of it is flat"


def _arrangements(seen: Appearance) -> Iterator[str]:
    if seen.seam > MOST_SEAM or seen.others > MOST_OTHERS[0] or seen.neck < LEAST_NECK[0]:
        yield "it shows more than one breast or view"
    if _is_turned(seen, LEAST_UPRIGHT[0]):
        yield "its chest wall lies at the top or bottom: it is turned by 90 degrees"


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


def _seam(small: Grey) -> float:
    """Greatest share of a column, off the edges, along which grey values jump."""
    jumps = np.abs(small[:, 2:] - small[:, :-2]) > _JUMP
    return float(jumps.mean(axis=0)[_MARGIN:-_MARGIN].max())


def _others(small: Grey, breast: Mask) -> float:
    """Area of the largest object besides the breast, over the breast's."""
    if breast.all():
        return 0.0
    halfway = (float(np.median(small[breast])) + float(np.median(small[~breast]))) / 2
    near = cv2.dilate(breast.astype(np.uint8), np.ones((_MARGIN, _MARGIN), np.uint8))
    others = ((small > halfway) & (near == 0)).astype(np.uint8)
    # Labels and film edges are thinner.
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_LABEL, _LABEL))
    opened = cv2.morphologyEx(others, cv2.MORPH_OPEN, kernel)
    count, _, facts, _ = cv2.connectedComponentsWithStats(opened)
    largest = float(facts[1:, cv2.CC_STAT_AREA].max()) if count > 1 else 0.0
    return largest / float(breast.sum())


def _neck(breast: Mask) -> float:
    """Narrowest row between two broader ones, over the less broad; 1 where there is none."""
    breadths = breast.sum(axis=1).astype(np.float64)
    breadths = breadths[breadths > 0]
    above = np.maximum.accumulate(breadths)
    below = np.maximum.accumulate(breadths[::-1])[::-1]
    less_broad = np.minimum(above, below)
    area = np.cumsum(breadths)
    smaller = np.minimum(area, area[-1] - area)
    # Folds and belly at the ends are no views, nor is the film's frame.
    views = (less_broad > _VIEW_BREADTH * breadths.max()) & (smaller > _VIEW_AREA * area[-1])
    return float((breadths[views] / less_broad[views]).min(initial=1.0))


def _position(breast: Mask) -> dict[str, Any]:
    """How a breast with its chest wall on the left lies on the edges."""
    rows, columns = breast.any(axis=1), breast.any(axis=0)
    upper, lower = (float(edge.any(axis=0).sum()) for edge in (breast[:_EDGE], breast[-_EDGE:]))
    down, across = np.nonzero(breast)
    from_edge = min(float(down.mean()), len(breast) - 1 - float(down.mean()))
    return {
        "upright": float(breast[:, :_EDGE].any(axis=1).sum() / rows.sum()),
        "vertical_edge": max(upper, lower) / float(columns.sum()),
        "centred_down": from_edge < float(across.mean()),
    }


def _scale(mammogram: Mammogram, preprocessed: Preprocessed) -> float:
    """Pixels of the source along a side of the crop for one of the network's input."""
    top, left, bottom, right = preprocessed.box
    pixels = (bottom - top) * (right - left) * mammogram.reduction**2
    return math.sqrt(pixels / preprocessed.pixels.size)
