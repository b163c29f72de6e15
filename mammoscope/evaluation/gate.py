"""Fit and measure the quality gate: how many mammograms pass, and how many other images.

Images are divided by patient, or by name if the patient is unknown: one half is used for fitting,
the other for measuring.
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mammoscope.data.dataset import read_dataset
from mammoscope.errors import DatasetError, EmptyDatasetError, ImageError, NotAMammogramError
from mammoscope.imaging.image_files import walk_images
from mammoscope.imaging.learned_gate import LearnedGate, look_of
from mammoscope.imaging.mammogram import Laterality, Mammogram, SourceFacts, View
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.quality import (
    LEAST_SCALE,
    discrepancies,
    measure,
    reasons,
    require_mammogram,
)
from mammoscope.imaging.reading import read_file
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom

REFUSED: Final = 0.001
"""Share of the fitting mammograms that the gate refuses, each scored by a fit without it."""

WARNED: Final = 0.005
"""Share of the fitting mammograms that the gate refuses or warns about, scored likewise."""

PHANTOMS: Final = 100
"""Number of phantoms for fitting; as many others are measured."""

_REGULARISATION: Final = 0.01
"""C of scikit-learn's logistic regression on standardised grey values. A tenfold value changes
little, because the classes are far apart."""

_FOLDS: Final = 5
_DIGITS: Final = 5
_Z: Final = 1.959964
"""Quantile of the normal distribution for a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file and its group; images of a group are all used for fitting or all measured."""

    path: Path
    group: str

    @property
    def held_out(self) -> bool:
        """Whether the image belongs to the half that is measured."""
        return zlib.crc32(self.group.encode("utf-8", "surrogateescape")) % 2 == 1


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """The outcome for one image.

    Parameters
    ----------
    refused
        ``reading`` (with the search for a breast), ``rules`` or ``learned``; empty if it passed.
    by_rules
        Whether the image passes the rules alone.
    doubted
        Whether an image that passes has a warning other than that of few pixels.
    few_pixels
        Whether the breast has fewer pixels than the network expects.
    look
        float64 (256,), input of the learned gate; None if no breast was found.
    """

    refused: str
    by_rules: bool = False
    doubted: bool = False
    few_pixels: bool = False
    look: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """Counts for the images of one kind.

    ``passed`` counts images that are not refused; ``unmentioned``, those of them without a warning
    other than that of few pixels; ``few_pixels``, those of them with that warning; ``rules_pass``,
    images that would pass without the learned gate.
    """

    images: int
    rules_pass: int
    passed: int
    unmentioned: int
    few_pixels: int

    @classmethod
    def of(cls, seen: Sequence[Seen]) -> "Count":
        """Count outcomes."""
        passing = [each for each in seen if not each.refused]
        return cls(
            images=len(seen),
            rules_pass=sum(each.by_rules for each in seen),
            passed=len(passing),
            unmentioned=sum(not each.doubted for each in passing),
            few_pixels=sum(each.few_pixels for each in passing),
        )

    def __add__(self, other: "Count") -> "Count":
        """Return the sum of both counts."""
        ours, theirs = asdict(self), asdict(other)
        return Count(**{name: ours[name] + theirs[name] for name in ours})

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, with the confidence intervals of what passed."""
        low, high = wilson(self.passed, self.images)
        return {**asdict(self), "passed_low": low, "passed_high": high}


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share.

    References
    ----------
    Wilson EB. Probable inference, the law of succession, and statistical inference. J Am Stat
    Assoc 1927;22:209-212.
    """
    if count == 0:
        return 0.0, 1.0
    share, squared = hits / count, _Z**2 / count
    centre = share + squared / 2
    half = _Z * math.sqrt(share * (1 - share) / count + squared / (4 * count))
    low, high = ((centre + side * half) / (1 + squared) for side in (-1, 1))
    return max(0.0, low), min(1.0, high)


def find_sources(folder: Path) -> list[Source]:
    """List the images of a folder, grouped by patient if it is a data set.

    Otherwise, images whose names agree up to the first dot belong together, as for DDSM's patients.

    Raises
    ------
    EmptyDatasetError
        If there are no images.
    """
    try:
        return [Source(each.path, each.patient_id) for each in read_dataset(folder).examples]
    except DatasetError:
        found = [Source(path, path.name.partition(".")[0]) for path in walk_images(folder, _ignore)]
    if not found:
        raise EmptyDatasetError("A folder has no images.")
    return found


def _ignore(error: OSError) -> None:
    """Ignore a folder that cannot be listed."""


def see(mammogram: Mammogram, size: tuple[int, int], gate: LearnedGate | None) -> Seen:
    """Pass an image through the gate, as for a prediction.

    Parameters
    ----------
    mammogram
        The image.
    size
        Height and width in pixels of the network's input.
    gate
        The learned gate; None for the rules alone.
    """
    try:
        preprocessed = preprocess(mammogram, size)
    except ImageError:
        return Seen("reading")
    appearance = measure(mammogram, preprocessed)
    by_rules = appearance.scale >= LEAST_SCALE[0] and not reasons(appearance)
    found = Seen("", by_rules=by_rules, look=look_of(preprocessed))
    try:
        require_mammogram(mammogram, preprocessed, gate)
    except NotAMammogramError:
        return replace(found, refused="learned" if by_rules else "rules")
    few = appearance.scale < LEAST_SCALE[1]
    said = discrepancies(mammogram, preprocessed, appearance, gate)
    return replace(found, doubted=len(said) > few, few_pixels=few)


def see_file(path: Path, size: tuple[int, int], gate: LearnedGate | None) -> Seen:
    """Read a file and pass it through the gate."""
    try:
        return see(read_file(path, needed=size), size, gate)
    except ImageError:
        return Seen("reading")


def phantoms(*, held_out: bool, every: int = 1) -> Iterator[Mammogram]:
    """Draw the phantoms for fitting or those for measuring; every Nth of them."""
    for seed in range(held_out, 2 * PHANTOMS, 2 * every):
        config = PhantomConfig(
            seed=seed,
            laterality=list(Laterality)[seed // 2 % 2],
            view=(View.CRANIO_CAUDAL, View.MEDIO_LATERAL_OBLIQUE)[seed // 4 % 2],
            mass=seed % 3 == 0,
            height=640,
            width=520,
        )
        yield Mammogram(draw_phantom(config).pixels, SourceFacts("PNG", 520, 640, 8, "L"))


def fit(mammograms: Sequence[tuple[str, Seen]], others: Sequence[tuple[str, Seen]]) -> LearnedGate:
    """Fit the learned gate.

    Parameters
    ----------
    mammograms
        Group and outcome of each mammogram. Those that the rules refuse are left out.
    others
        The same for other images, including those that the rules refuse.

    Raises
    ------
    EmptyDatasetError
        If there are too few groups of either kind.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kept = [(group, each.look, 1) for group, each in mammograms if not each.refused]
    kept += [(group, each.look, 0) for group, each in others if each.look is not None]
    groups, looks, labels = zip(*kept, strict=True) if kept else ((), (), ())
    if min(len({group for group, _, label in kept if label == one}) for one in (0, 1)) < _FOLDS:
        raise EmptyDatasetError("There are too few images to fit the gate.")
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=_REGULARISATION, max_iter=2000, random_state=0)
    )
    x, y = np.stack(looks), np.array(labels)
    _, numbers = np.unique(groups, return_inverse=True)
    folds = StratifiedGroupKFold(_FOLDS)
    unseen = cross_val_predict(model, x, y, groups=numbers, cv=folds, method="decision_function")
    refused, warned = np.quantile(unseen[y == 1], (REFUSED, WARNED))
    scaler, linear = (step for _, step in model.fit(x, y).steps)
    weights = linear.coef_[0] / scaler.scale_
    return LearnedGate(
        weights=tuple(round(float(each), _DIGITS) for each in weights),
        bias=round(float(linear.intercept_[0] - weights @ scaler.mean_), _DIGITS),
        refuse_below=round(float(refused), _DIGITS),
        warn_below=round(float(warned), _DIGITS),
    )
