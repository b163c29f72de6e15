"""The answer about one image: what an engine returns and what crosses the wire."""

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
"""Lowest and highest age in years that the calibration accepts."""

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Answer(BaseModel):
    """An object of the API: frozen, closed, and the only definition of its JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    FIRST: ClassVar[tuple[str, ...]] = ()
    """Keys that come first in the JSON, for people who read it."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that the service, the command line and the tables use."""
        content = self.model_dump(mode="json")
        return {key: content[key] for key in self.FIRST} | content


class Decision(Answer):
    """A calibrated probability and the label that a threshold makes of it.

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
    """The answer about one image.

    `to_json` holds the answer. The preprocessed image, the logit map and the times stay with the
    caller and are never serialised; a heat map is drawn from the first two.

    Parameters
    ----------
    age_used
        Whether the woman's age entered the probability.
    model_version
        Version of the model that answered.
    warnings
        What a person should know about this image or answer, in words.
    preprocessed
        The image as the network saw it.
    logit_map
        float32 (h, w), unbounded: the logit that each cell of the last feature map gives alone.
        The cells cover ``preprocessed.pixels``.
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
        """What the answer must not be used for."""
        return RESEARCH_USE_NOTICE
