"""How near a compiled network's scores come to those of the float network."""

from typing import Final

import numpy as np
import numpy.typing as npt

from mammoscope.errors import CompilationError
from mammoscope.evaluation.metrics import Curve, Scored
from mammoscope.export.comparison_images import PreprocessedImages
from mammoscope.model.artifact import DEFAULT_POINT, Card, CardComparison

ALLOWED_AUC_DIFFERENCE: Final = 0.005
ALLOWED_DIFFERENCE: Final = 0.03
"""Of the calibrated probability of any image."""

Logits = npt.NDArray[np.float32]


class Reference:
    """The float network's scores, which those of a compiled network are held against.

    Parameters
    ----------
    card
        Knows calibration and default operating point.
    images
        Those of the comparison were scored.
    logits
        float32 (N,): the float network's.

    Raises
    ------
    CompilationError
        If a logit is not finite.
    """

    def __init__(self, card: Card, images: PreprocessedImages, logits: Logits) -> None:
        if not np.isfinite(logits).all():
            raise CompilationError("The network's score of some image is not a number.")
        self._scored = Scored.of(images.labels, logits, calibration=card.calibration)
        self._threshold = card.threshold(DEFAULT_POINT)
        self._source = images.source

    def compare(self, logits: Logits) -> CardComparison:
        """Hold logits of the same images, float32 (N,), against the float network's.

        Raises
        ------
        CompilationError
            If a logit is not finite.
        """
        if not np.isfinite(logits).all():
            raise CompilationError("The compiled network's score of some image is not a number.")
        ours = self._scored
        theirs = Scored.of(ours.labels, logits, calibration=ours.calibration)
        differences = np.abs(ours.probabilities - theirs.probabilities)
        changed = (ours.probabilities >= self._threshold) != (
            theirs.probabilities >= self._threshold
        )
        return CardComparison(
            source=self._source,
            pictures=ours.labels.size,
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


def loss(comparison: CardComparison) -> float:
    """How much is lost, in units of what is allowed: acceptable up to 1."""
    return max(
        abs(comparison.auc_float - comparison.auc_compiled) / comparison.allowed_auc_difference,
        comparison.max_difference / comparison.allowed_difference,
    )


def _auc(scored: Scored) -> float:
    return float(Curve(scored.logits, scored.labels).auc(np.ones((1, scored.labels.size)))[0])
