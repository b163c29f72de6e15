"""Compare scores in bfloat16 with those in float32."""

from typing import Final

import numpy as np

from mammoscope.errors import CompilationError
from mammoscope.evaluation.metrics.measures import Curve
from mammoscope.evaluation.metrics.scored import Scored
from mammoscope.export.comparison_images import PreprocessedImages
from mammoscope.imaging.arrays import Float
from mammoscope.model.artifact.card import DEFAULT_POINT, Card, CardComparison

ALLOWED_AUC_DIFFERENCE: Final = 0.005
ALLOWED_DIFFERENCE: Final = 0.03
"""Maximum difference in the calibrated probability of any image."""


def compare(card: Card, images: PreprocessedImages, exact: Float, rounded: Float) -> CardComparison:
    """Compare scores of the same images in both precisions.

    Parameters
    ----------
    card
        Source of the calibration and the default operating point.
    images
        The N images.
    exact, rounded
        float32 (N,): logits in float32 and in bfloat16.

    Raises
    ------
    CompilationError
        If a logit is not finite.
    """
    if not (np.isfinite(exact).all() and np.isfinite(rounded).all()):
        raise CompilationError("The network's score for an image is not a finite number.")
    ours, theirs = (
        Scored.of(images.labels, logits, calibration=card.calibration)
        for logits in (exact, rounded)
    )
    differences = np.abs(ours.probabilities - theirs.probabilities)
    threshold = card.threshold(DEFAULT_POINT)
    changed = (ours.probabilities >= threshold) != (theirs.probabilities >= threshold)
    return CardComparison(
        source=images.source,
        images=ours.labels.size,
        positives=int(ours.labels.sum()),
        auc_float=_auc(ours),
        auc_compiled=_auc(theirs),
        max_difference=float(differences.max()),
        percentile_95_difference=float(np.quantile(differences, 0.95)),
        mean_difference=float(differences.mean()),
        labels_changed=int(changed.sum()),
        allowed_auc_difference=ALLOWED_AUC_DIFFERENCE,
        allowed_difference=ALLOWED_DIFFERENCE,
    )


def acceptable(comparison: CardComparison) -> bool:
    """Whether scores in bfloat16 are close enough to serve."""
    auc_difference = abs(comparison.auc_float - comparison.auc_compiled)
    return (
        auc_difference <= comparison.allowed_auc_difference
        and comparison.max_difference <= comparison.allowed_difference
    )


def _auc(scored: Scored) -> float:
    return float(Curve(scored.logits, scored.labels).auc(np.ones((1, scored.labels.size)))[0])
