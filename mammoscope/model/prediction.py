"""What crosses the wire: the answer about one image."""

from dataclasses import dataclass, field
from typing import Any, Final

CLASS_NAMES: Final = ("no tumour", "tumour")
"""Names of label 0 and label 1, in this order."""

RESEARCH_USE_NOTICE: Final = (
    "Research software, not a medical device: not for diagnosis, screening or treatment."
)


AGES_YEARS: Final = (18, 120)
"""Youngest and oldest age that is taken for a woman's."""


AGE_CENTRE_YEARS: Final = 60.0
YEARS_A_DECADE: Final = 10.0
"""Ages enter a calibration as decades from the centre, about the mean age in screening."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer about one image.

    Parameters
    ----------
    probability
        Calibrated probability of label 1 (tumour), in [0, 1].
    logit
        The network's raw score before calibration, unbounded.
    threshold
        Probability from which the label is ``tumour``, in (0, 1).
    model_version
        Version of the model that answered.
    warnings
        What a person should know about this image or answer, in words.
    age_used
        Whether the woman's age entered the probability.
    """

    probability: float
    logit: float
    threshold: float
    model_version: str
    warnings: tuple[str, ...] = field(default=())
    age_used: bool = False

    @property
    def label(self) -> str:
        """One of `CLASS_NAMES`."""
        return CLASS_NAMES[int(self.probability >= self.threshold)]

    def to_json(self) -> dict[str, Any]:
        """JSON object of the one wire format."""
        return {
            "label": self.label,
            "probability": self.probability,
            "classes": {
                CLASS_NAMES[0]: 1.0 - self.probability,
                CLASS_NAMES[1]: self.probability,
            },
            "logit": self.logit,
            "threshold": self.threshold,
            "age_used": self.age_used,
            "model_version": self.model_version,
            "warnings": list(self.warnings),
            "notice": RESEARCH_USE_NOTICE,
        }
