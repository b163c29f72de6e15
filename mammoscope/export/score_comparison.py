"""Compare scores in int8 or bfloat16 with those in float32."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from mammoscope.errors import CompilationError
from mammoscope.evaluation.metrics.measures import Curve
from mammoscope.evaluation.metrics.scored import Scored
from mammoscope.imaging.arrays import Float
from mammoscope.model.artifact.card import DEFAULT_POINT, Card, CardComparison, Precision


@dataclass(frozen=True, slots=True)
class Limits:
    """Maximum differences at which a precision is served.

    Parameters
    ----------
    auc
        Difference in the AUC by image.
    largest, percentile_95
        Difference in the calibrated probability of any image, and its 95th percentile over the
        images.
    labels_changed
        Share of the images whose label at the default operating point differs.
    """

    auc: float
    largest: float
    percentile_95: float | None = None
    labels_changed: float | None = None


LIMITS: Final[Mapping[Precision, Limits]] = {
    "int8": Limits(auc=0.005, largest=0.05, percentile_95=0.015, labels_changed=0.01),
    "bfloat16": Limits(auc=0.005, largest=0.03),
}


Source = Literal["validation", "training", "images"]
"""Images of patients that a training run did not train on, that it did, or of another data set."""


@dataclass(frozen=True, slots=True, eq=False)
class LogitPairs:
    """Logits of the same N images in both precisions.

    Parameters
    ----------
    source
        Where the images come from, for the card.
    labels
        Their labels, (N,).
    exact, rounded
        float32 (N,): logits in float32 and in the other precision.
    """

    source: Source
    labels: npt.NDArray[np.int64]
    exact: Float
    rounded: Float


def compare(card: Card, pairs: LogitPairs, precision: Precision) -> CardComparison:
    """Compare scores of the same images in both precisions.

    Parameters
    ----------
    card
        Source of the calibration and the default operating point.
    pairs
        The logits.
    precision
        The other precision; its `LIMITS` are recorded.

    Raises
    ------
    CompilationError
        If a logit is not finite.
    """
    if not (np.isfinite(pairs.exact).all() and np.isfinite(pairs.rounded).all()):
        raise CompilationError("The network's score for an image is not a finite number.")
    ours, theirs = (
        Scored.of(pairs.labels, logits, calibration=card.calibration)
        for logits in (pairs.exact, pairs.rounded)
    )
    limits = LIMITS[precision]
    differences = np.abs(ours.probabilities - theirs.probabilities)
    threshold = card.threshold(DEFAULT_POINT)
    changed = (ours.probabilities >= threshold) != (theirs.probabilities >= threshold)
    return CardComparison(
        precision=precision,
        source=pairs.source,
        images=ours.labels.size,
        positives=int(ours.labels.sum()),
        auc_float=_auc(ours),
        auc_compiled=_auc(theirs),
        max_difference=float(differences.max()),
        percentile_95_difference=float(np.quantile(differences, 0.95)),
        mean_difference=float(differences.mean()),
        labels_changed=int(changed.sum()),
        allowed_auc_difference=limits.auc,
        allowed_difference=limits.largest,
        allowed_percentile_95=limits.percentile_95,
        allowed_labels_changed=limits.labels_changed,
    )


def exceeded(comparison: CardComparison) -> list[str]:
    """Return a sentence part for each limit that the differences exceed; none if it may serve."""
    measured = (
        (
            "AUC",
            abs(comparison.auc_float - comparison.auc_compiled),
            comparison.allowed_auc_difference,
        ),
        (
            "95th percentile of the probability",
            comparison.percentile_95_difference,
            comparison.allowed_percentile_95,
        ),
        ("probability of an image", comparison.max_difference, comparison.allowed_difference),
        (
            "share of labels",
            comparison.labels_changed / comparison.images,
            comparison.allowed_labels_changed,
        ),
    )
    return [
        f"{name}: {value:.4f} (at most {most:g})"
        for name, value, most in measured
        if most is not None and value > most
    ]


def _auc(scored: Scored) -> float:
    return float(Curve(scored.logits, scored.labels).auc(np.ones((1, scored.labels.size)))[0])
