"""The quality gate: decides whether an image is a usable mammogram, and explains refusals.

A network gives a score for any image. The gate checks that the image looks like one breast on an
empty background, as every mammogram does on any scanner. Its rules measure the search copy of
`mammoscope.imaging.preprocessing`, so padding, inversion, mirroring and the aspect ratio of the
export have no effect. If the model's card has a `LearnedGate`, it finds what the rules miss.
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
from mammoscope.imaging.preprocessing.objects import objects
from mammoscope.imaging.preprocessing.outline import (
    EDGE,
    LEAST_CHEST_WALL,
    LEAST_SOLIDITY,
    MOST_HOLES,
    MOST_OPPOSITE,
    outline_of,
)
from mammoscope.imaging.quantiles import quantiles

# The limits leave a wide margin around the values measured on 529 images of the Kaggle set's
# training split, given at each limit, so that other scanners pass as well. `mammoscope dev quality`
# prints the share of images refused in any folder, and the reasons. Those of the outline are in
# `mammoscope.imaging.preprocessing.outline`.

MOST_COLOURED: Final = 0.05
"""Maximum coloured share of the image: allows an annotation, but no photograph. Measured: 0."""

LEAST_BACKGROUND: Final = 0.03
"""Minimum share of background in the image. Measured: from 0.08; of all 2,647 from 0.04."""

LEAST_EMPTY: Final = (0.50, 0.88)
"""Minimum share of the background with a single grey value. Measured: from 0.95. Labels and tape
fill the background of films; the learned gate decides between the limits."""

LEAST_TEXTURE: Final = (0.03, 0.06)
"""Minimum ratio of fine texture contrast to total contrast. Measured: from 0.14; phantoms from
0.09. Small scans of films have less; the learned gate decides between the limits."""

MOST_TEXTURE: Final = 0.80
"""Maximum ratio. Measured: up to 0.66."""

DETAIL: Final = (-2.0, 1.1)
"""Limits of the logarithm of texture at 1 to 2 search pixels over finer texture: low for noise and
print, high for enlarged and drawn images. Measured: -1.6 to 0.7."""

MOST_EDGES: Final = 300.0
"""Maximum ratio of the steepest edges (99th percentile of the gradient) to the median gradient.
Above it, most of the object is flat, so it is drawn. Measured: 3 to 37."""

# The limits below were measured on 1,238 images of training and validation. Unless stated
# otherwise, the gate refuses beyond the first of two and warns beyond the second.

MOST_SEAM: Final = 0.55
"""Maximum share of a column's height along which grey values jump; more indicates images side by
side. Measured: up to 0.41, with three exceptions."""

MOST_CUT: Final = 0.40
"""Maximum share of a row, in the image's middle half, along which grey values jump at once, where
the breast has a neck; more indicates stacked films. Measured on 2,138 images, half films: up
to 0.37, whatever their neck; stacked films of DDSM from 0.7. Detectors of several parts reach 0.8,
but the breast has no neck there."""

MOST_OTHERS: Final = (0.20, 0.10, 0.06)
"""Maximum ratio of the second largest object's area to the breast's; more indicates two breasts.
Measured: up to 0.05, with four exceptions. Labels of films have up to 0.17; the learned gate
decides between the first two limits, and the gate warns beyond the third."""

LEAST_NECK: Final = (0.06, 0.70)
"""Minimum ratio of the narrowest row between two wider ones to the smaller of these; less indicates
two connected views. Measured: 3 % lie below the second limit."""

LEAST_UPRIGHT: Final = (0.93, 0.95)
"""Minimum share of a breast's rows that start at the chest wall, in an image whose columns all
start at the top or all end at the bottom; less indicates a rotation by 90 degrees. Measured: from
0.96, with one exception."""

TURNED_EDGE: Final = 0.97
"""Share of a rotated breast's columns that start at the top, or end at the bottom."""

LEAST_SCALE: Final = (0.5, 0.9)
"""Minimum ratio of the square roots of the breast's and the network input's numbers of pixels.
Measured: from 0.66; 1.6 % lie below the second limit."""

UNLIKE: Final = "its shape and its grey values are not those of a mammogram"
"""Reason given by the learned gate for an image that passes all rules."""

_JUMP: Final = 0.1
"""Difference of grey values across a seam, as a share of the full range."""

_CUT_JUMP: Final = (3.0, 0.01)
"""A grey value jumps if it changes by this many times its mean change nearby, plus this share of
the full range."""

_CUT_NEAR: Final = 21
"""Number of search pixels, across a row, over which the mean change is taken."""

_CUT_ALONG: Final = 9
"""Number of search pixels, along a row, averaged first: the grain of film hides small jumps."""

_MARGIN: Final = 9
"""Side in search pixels of the zone around the skin line that is not measured."""

_LABEL: Final = 7
"""Side in search pixels of the opening that removes objects thinner than a breast."""

_VIEW_BREADTH: Final = 0.25
"""Minimum width of a view, relative to the widest."""

_VIEW_AREA: Final = 0.1
"""Minimum area of a view, relative to the breast's: strips of a film's frame are smaller."""

_FEWEST_PIXELS: Final = 100
"""Minimum number of search pixels to measure."""

_SAME_GREY: Final = 0.05
"""Range within which background grey values count as equal, as a share of the full range."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """Measurements of an image.

    All are shares in [0, 1], except `detail`, a logarithm, and the ratios `texture`, `edges`,
    `others`, `neck` and `scale`. `centred_down` tells whether the breast's centre is nearer to its
    upper or lower edge than to the chest wall.
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
    cut: float
    others: float
    neck: float
    upright: float
    vertical_edge: float
    centred_down: bool
    scale: float


def measure(mammogram: Mammogram, preprocessed: Preprocessed) -> Appearance:
    """Measure the image that `preprocessed` was made from."""
    small, breast = preprocessed.search_copy, preprocessed.breast
    if preprocessed.mirrored:
        small, breast = small[:, ::-1], breast[:, ::-1]
    kernel = np.ones((_MARGIN, _MARGIN), np.uint8)
    background = cv2.dilate(breast.astype(np.uint8), kernel) == 0
    # Everything outside the image counts as breast, to keep the edge along the chest wall.
    inside = cv2.erode(breast.astype(np.uint8), kernel, borderValue=1) > 0
    outline = outline_of(breast)
    inside = inside if inside.sum() >= _FEWEST_PIXELS else breast
    texture, detail = _texture(small, inside)
    return Appearance(
        coloured=mammogram.source.coloured,
        chest_wall=outline.chest_wall,
        opposite=outline.opposite,
        background=float(background.mean()),
        empty=_emptiness(small[background]),
        solidity=outline.solidity,
        holes=outline.holes,
        texture=texture,
        detail=detail,
        edges=_edges(small, inside),
        seam=_seam(small),
        cut=_cut(small),
        others=_others(small, breast),
        neck=_neck(breast),
        scale=_scale(mammogram, preprocessed),
        **_position(breast),
    )


def reasons(appearance: Appearance, *, certain: bool = False) -> tuple[str, ...]:
    """Return the reasons to refuse an image with these measurements; empty if it passes.

    If `certain`, only those that the learned gate cannot overrule.
    """
    return tuple(_reasons(appearance, 0 if certain else 1))


def require_mammogram(
    mammogram: Mammogram, preprocessed: Preprocessed, gate: LearnedGate | None = None
) -> Appearance:
    """Refuse images that are not mammograms; return the measurements of those that may be.

    Parameters
    ----------
    mammogram, preprocessed
        The image, and the result of preprocessing it.
    gate
        The learned gate of the model's card; None uses the rules alone. If it vouches for
        the image, it overrules the rules that are unsure: those of labels and of little texture.

    Raises
    ------
    NotAMammogramError
        If the image is not a usable mammogram; the message gives the reasons.
    """
    seen = measure(mammogram, preprocessed)
    if seen.scale < LEAST_SCALE[0]:
        height, width = preprocessed.ranks.shape
        raise NotAMammogramError(
            f"The breast has too few pixels: {seen.scale:.2f} per side for each pixel of the "
            f"network's {width} x {height} input; at least {LEAST_SCALE[0]} are needed. Send the "
            "full-size image, not a thumbnail."
        )
    # A linear gate cannot tell two views that are stacked from one.
    overruled = gate is not None and seen.neck >= LEAST_NECK[1] and gate.vouches(preprocessed)
    found = reasons(seen, certain=overruled)
    if not found and gate is not None and gate.refuses(preprocessed):
        found = (UNLIKE,)
    if found:
        raise NotAMammogramError(
            f"The image does not look like a mammogram of one breast: {'; '.join(found)}."
        )
    return seen


def discrepancies(
    mammogram: Mammogram,
    preprocessed: Preprocessed,
    appearance: Appearance,
    gate: LearnedGate | None = None,
) -> tuple[str, ...]:
    """Return what a reader should know about an image that passes with `appearance`, in words."""
    found = tuple(_doubts(mammogram, preprocessed, appearance))
    if gate is not None and gate.doubts(preprocessed):
        return ("The image may not be a mammogram: it does not look like most of them.", *found)
    return found


def _doubts(
    mammogram: Mammogram, preprocessed: Preprocessed, appearance: Appearance
) -> Iterator[str]:
    if overruled := reasons(appearance):
        yield f"The image may not be a mammogram: {'; '.join(overruled)}."
    if appearance.scale < LEAST_SCALE[1]:
        yield (
            "The breast has fewer pixels than the network expects: "
            f"{appearance.scale:.2f} per side for each pixel of its input."
        )
    if appearance.neck < LEAST_NECK[1] or appearance.others > MOST_OTHERS[-1]:
        yield "The image may show more than one breast or view."
    if _is_turned(appearance, LEAST_UPRIGHT[1]) or (
        appearance.vertical_edge > TURNED_EDGE and appearance.centred_down
    ):
        yield "The chest wall may be at the top or bottom: the image may be rotated by 90 degrees."
    said, seen = mammogram.exposure.chest_wall, preprocessed.chest_wall
    if said is None or said == seen:
        return
    yield (
        f"According to the DICOM object, the chest wall should be on the {said}, but it is on the "
        f"{seen}: the image is mirrored, or its laterality or orientation is wrong."
    )


def _is_turned(seen: Appearance, least_upright: float) -> bool:
    return seen.vertical_edge > TURNED_EDGE and seen.upright < least_upright


def _reasons(seen: Appearance, limit: int) -> Iterator[str]:
    """Reasons to refuse; `limit` is the index of the limit of rules that have several."""
    if seen.coloured > MOST_COLOURED:
        yield "it is coloured"
    if seen.chest_wall < LEAST_CHEST_WALL:
        yield "its largest object does not touch the left or right edge as a breast does"
    if seen.opposite > MOST_OPPOSITE:
        yield "its largest object spans from the left edge to the right"
    if seen.background < LEAST_BACKGROUND:
        yield "there is no background around the breast"
    elif seen.empty < LEAST_EMPTY[limit]:
        yield "the background is not empty"
    if seen.solidity < LEAST_SOLIDITY or seen.holes > MOST_HOLES:
        yield "its largest object does not have the outline of a breast"
    yield from _arrangements(seen, limit)
    is_textured = LEAST_TEXTURE[limit] <= seen.texture <= MOST_TEXTURE
    if not is_textured or not DETAIL[0] <= seen.detail <= DETAIL[1]:
        yield "it does not have the texture of breast tissue"
    elif seen.edges > MOST_EDGES:
        yield "it is drawn, not a radiograph: most of it is flat"


def _arrangements(seen: Appearance, limit: int) -> Iterator[str]:
    is_stacked = seen.neck < LEAST_NECK[int(seen.cut > MOST_CUT)]
    if is_stacked or seen.seam > MOST_SEAM or seen.others > MOST_OTHERS[limit]:
        yield "it shows more than one breast or view"
    if _is_turned(seen, LEAST_UPRIGHT[0]):
        yield "its chest wall is at the top or bottom: it is rotated by 90 degrees"


def _emptiness(background: Grey) -> float:
    """Share of the background's grey values that nearly equal their median."""
    if background.size < _FEWEST_PIXELS:
        return 1.0
    return float((np.abs(background - np.median(background)) < _SAME_GREY).mean())


def _texture(small: Grey, inside: Mask) -> tuple[float, float]:
    """Relative contrast of fine texture, and its distribution over the finest two octaves."""
    tissue, finer, coarser = (
        image[inside]
        for image in (small, *(cv2.GaussianBlur(small, (0, 0), sigma) for sigma in (1.0, 2.0)))
    )
    all_contrast = float(tissue.std())
    fine = float((tissue - coarser).std())
    finest = float((tissue - finer).var())
    next_octave = float((finer - coarser).var())
    smallest = 1e-9  # keeps the logarithm finite for an image with a single grey value
    detail = float(np.log((next_octave + smallest) / (finest + smallest)))
    return fine / max(all_contrast, 1e-3), detail


def _edges(small: Grey, inside: Mask) -> float:
    """Ratio of the steepest edges' gradient to the median gradient."""
    across, down = (cv2.Sobel(small, cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1)))
    gradient = np.hypot(across[inside], down[inside])
    median, steepest = quantiles(gradient, (0.5, 0.99))
    return float(steepest / max(median, 1e-4))


def _seam(small: Grey) -> float:
    """Greatest share of a column, away from the edges, along which grey values jump."""
    jumps = np.abs(small[:, 2:] - small[:, :-2]) > _JUMP
    return float(jumps.mean(axis=0)[_MARGIN:-_MARGIN].max())


def _cut(small: Grey) -> float:
    """Greatest share of a row, in the middle half, along which grey values jump at once.

    Where two images meet, nearly all columns change at one row, with the noise and the grey value
    of the film. Borders of a film lie outside the middle half.
    """
    times, least = _CUT_JUMP
    smooth = cv2.blur(small, (_CUT_ALONG, 1))
    changes = np.abs(smooth[2:] - smooth[:-2])
    nearby = cv2.blur(changes, (1, _CUT_NEAR))
    jumping = (changes > times * nearby + least).mean(axis=1)
    quarter = len(jumping) // 4
    return float(jumping[quarter:-quarter].max())


def _others(small: Grey, breast: Mask) -> float:
    """Ratio of the area of the largest object besides the breast to the breast's area."""
    if breast.all():
        return 0.0
    halfway = (float(np.median(small[breast])) + float(np.median(small[~breast]))) / 2
    near = cv2.dilate(breast.astype(np.uint8), np.ones((_MARGIN, _MARGIN), np.uint8))
    others = ((small > halfway) & (near == 0)).astype(np.uint8)
    # The opening removes labels and film edges, which are thinner.
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_LABEL, _LABEL))
    opened = cv2.morphologyEx(others, cv2.MORPH_OPEN, kernel)
    _, areas = objects(np.asarray(opened, np.uint8), connectivity=8)
    return float(areas.max(initial=0)) / float(breast.sum())


def _neck(breast: Mask) -> float:
    """Ratio of the narrowest row between two wider ones to the smaller of these; 1 if none."""
    breadths = breast.sum(axis=1).astype(np.float64)
    breadths = breadths[breadths > 0]
    above = np.maximum.accumulate(breadths)
    below = np.maximum.accumulate(breadths[::-1])[::-1]
    less_broad = np.minimum(above, below)
    area = np.cumsum(breadths)
    smaller = np.minimum(area, area[-1] - area)
    # Skin folds and the abdomen at the ends are not views, nor is the film's frame.
    views = (less_broad > _VIEW_BREADTH * breadths.max()) & (smaller > _VIEW_AREA * area[-1])
    return float((breadths[views] / less_broad[views]).min(initial=1.0))


def _position(breast: Mask) -> dict[str, Any]:
    """Measure how a breast with its chest wall on the left touches the edges."""
    rows, columns = breast.sum(axis=1), breast.sum(axis=0)
    upper, lower = (float(edge.any(axis=0).sum()) for edge in (breast[:EDGE], breast[-EDGE:]))
    down, across = (
        float(counts @ np.arange(len(counts)) / rows.sum()) for counts in (rows, columns)
    )
    return {
        "upright": float(breast[:, :EDGE].any(axis=1).sum() / np.count_nonzero(rows)),
        "vertical_edge": max(upper, lower) / float(np.count_nonzero(columns)),
        "centred_down": min(down, len(breast) - 1 - down) < across,
    }


def _scale(mammogram: Mammogram, preprocessed: Preprocessed) -> float:
    """Source pixels per pixel of the network's input, along a side of the crop."""
    top, left, bottom, right = preprocessed.box
    pixels = (bottom - top) * (right - left) * mammogram.reduction**2
    return math.sqrt(pixels / preprocessed.ranks.size)
