"""The prediction for one image, as returned by an engine and serialised by the API."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, computed_field

from mammoscope.imaging.arrays import Float
from mammoscope.imaging.preprocessing import Preprocessed

Label = Literal["no tumour", "tumour"]

CLASS_NAMES: Final[tuple[Label, Label]] = ("no tumour", "tumour")
"""Names of label 0 and label 1, in this order."""

RESEARCH_USE_NOTICE: Final = (
    "Research software, not a medical device: not for diagnosis, screening or treatment."
)

AGES_YEARS: Final = (18, 120)
"""Minimum and maximum age in years that the calibration accepts."""

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Answer(BaseModel):
    """An object of the API: immutable, without extra fields; it alone defines its JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    FIRST: ClassVar[tuple[str, ...]] = ()
    """Keys that come first in the JSON, for human readers."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object used by the service, the command line and the tables."""
        content = self.model_dump(mode="json")
        return {key: content[key] for key in self.FIRST} | content


class Decision(Answer):
    """A calibrated probability, and the label that results from a threshold.

    Parameters
    ----------
    probability
        Calibrated probability of label 1 (tumour), in [0, 1].
    threshold
        Probability from which the label is ``tumour``, in [0, 1].
    logit
        Raw score before calibration, unbounded.
    """

    probability: Probability
    threshold: Probability
    logit: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def label(self) -> Label:
        """``tumour`` if the probability reaches the threshold, else ``no tumour``."""
        return label_of(self.probability, self.threshold)


def label_of(probability: float, threshold: float) -> Label:
    """Return ``tumour`` from the threshold on, else ``no tumour``."""
    return CLASS_NAMES[int(probability >= threshold)]


class Prediction(Decision):
    """The prediction for one image.

    `to_json` serialises it. The preprocessed image, the logit map and the times stay with the
    caller and are never serialised; the first two are needed to draw a heat map.

    Parameters
    ----------
    age_used
        Whether the woman's age was used for the probability.
    model_version
        Version of the model.
    warnings
        What a reader should know about this image or prediction, in words.
    preprocessed
        The network's input.
    logit_map
        float32 (h, w), unbounded: the logit that each cell of the last feature map would give
        alone. The cells cover ``preprocessed.pixels``.
    stage_s
        Seconds spent in the stages ``decode``, ``prepare`` and ``infer``.
    """

    FIRST = ("label", "probability", "classes", "logit")

    age_used: bool
    model_version: str
    warnings: tuple[str, ...]
    preprocessed: SkipValidation[Preprocessed] = Field(exclude=True, repr=False)
    logit_map: SkipValidation[Float] = Field(exclude=True, repr=False)
    stage_s: SkipValidation[Mapping[str, float]] = Field(
        default_factory=dict, exclude=True, repr=False
    )

    @computed_field  # type: ignore[prop-decorator]
    @property
    def classes(self) -> dict[Label, Probability]:
        """Probability of each class."""
        return {CLASS_NAMES[0]: 1.0 - self.probability, CLASS_NAMES[1]: self.probability}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def notice(self) -> str:
        """Research-use notice."""
        return RESEARCH_USE_NOTICE
