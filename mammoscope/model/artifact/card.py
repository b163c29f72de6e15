"""The card: facts about a model that travel with it."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mammoscope.errors import ConfigurationError
from mammoscope.model.calibration import AgeCalibration, Calibration

DEFAULT_POINT: Final = "default"

Level = Literal["image", "breast", "patient"]


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Method = Literal[
    "quantised",
    "quantised_full_bias",
    "quantised_except_blocks",
    "bfloat16",
    "float16_weights",
    "float32_weights",
]
METHOD_TITLES: Final[Mapping[Method, str]] = {
    "quantised": "8 bits",
    "quantised_full_bias": "8 bits, biases put right",
    "quantised_except_blocks": "8 bits, some blocks in float",
    "bfloat16": "bfloat16",
    "float16_weights": "float, weights of 16 bits",
    "float32_weights": "float",
}
"""How a network was compiled, in words."""

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""A plain name: a card cannot point out of its folder."""


Deciles = Annotated[tuple[float, ...], Field(min_length=9, max_length=9)]
"""Nine values, ascending, that divide a distribution into ten parts of the same size."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CardOperatingPoint(_Frozen):
    """Probability from which the label is ``tumour``, and what was measured there.

    ``measured_with_age`` is what the same threshold does where the age entered the probability.
    """

    threshold: Annotated[float, Field(gt=0.0, lt=1.0)]
    measured: dict[str, Any] = Field(default_factory=dict)
    measured_with_age: dict[str, Any] = Field(default_factory=dict)


class CardLevel(_Frozen):
    """Calibration and operating points of breasts or of patients, fitted on validation patients.

    Without operating points those of images hold.
    """

    calibration: Calibration = Calibration()
    operating_points: dict[str, CardOperatingPoint] = Field(default_factory=dict)


class CardFile(_Frozen):
    """A file of the model folder, by name and sha256."""

    name: FileName
    sha256: Sha256


class CardComparison(_Frozen):
    """How near the compiled network's scores come to those of the .keras it was made from.

    Parameters
    ----------
    source
        Whose images were scored by both: ``validation`` patients of the training run,
        ``images`` of another data set, or ``phantoms``.
    images, positives
        How many were scored, and how many of them have label 1.
    auc_float, auc_compiled
        AUC by image.
    max_difference, percentile_95_difference, mean_difference
        Of the calibrated probability of the same image, absolute, in [0, 1].
    labels_changed
        Images whose label at the default operating point is another.
    allowed_auc_difference, allowed_difference
        What would not have been accepted any more.
    """

    source: Literal["validation", "pictures", "phantoms"]
    pictures: Annotated[int, Field(gt=0)]
    positives: int
    auc_float: float
    auc_compiled: float
    max_difference: float
    percentile_95_difference: float
    mean_difference: float
    labels_changed: int
    allowed_auc_difference: float
    allowed_difference: float


class CardCompiled(_Frozen):
    """The network as OpenVINO serves it.

    Parameters
    ----------
    kind
        ``int8``: convolutions compute in 8 bits; ``float``: everything computes in floating point.
    source_sha256
        Of the .keras it was compiled from.
    topology, weights
        The two files of OpenVINO's intermediate representation.
    method
        How it was made: ``quantised``, ``quantised_full_bias`` (what rounding shifts was put right
        layer after layer), ``quantised_except_blocks`` (so it was, and the blocks that cost most
        were left in float), ``bfloat16`` (everything computes in bfloat16 where the processor does,
        and in float32 where it does not), ``float16_weights`` or ``float32_weights``.
    comparison
        With the float network.
    rounded
        Whether the machine that compiled it does not compute in bfloat16, and its factors, rounded
        to that, stood in for it where scores were compared; speeds are then those of float32.
    share_in_8_bits
        Of the multiply-adds of all convolutions, in [0, 1]; None where it was not noted.
    float_blocks
        Parts of the network that were left in float, as number and size of what they put out, in
        the order of computation. The head is always in float, and not named.
    speed
        Time the float network takes for one image over the time this takes, on the machine that
        compiled it, where both use all its processors.
    throughput
        The same of many images, several of them at a time; None where it was not measured.
    phantom_logits
        Logits of the phantoms of `mammoscope.model.engine.score_phantoms` on the machine that
        compiled it. Another machine compares its own with them.
    packages
        Versions of what compiled it.
    """

    kind: Literal["int8", "float"]
    source_sha256: Sha256
    topology: CardFile
    weights: CardFile
    method: Method
    comparison: CardComparison
    rounded: bool = False
    share_in_8_bits: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    float_blocks: tuple[str, ...] = ()
    speed: float
    throughput: float | None = None
    phantom_logits: tuple[float, ...] = ()
    packages: dict[str, str] = Field(default_factory=dict)


class Card(_Frozen):
    """Facts about a model that travel with it.

    Parameters
    ----------
    version
        Of the model, not of the software.
    sha256
        Of the .keras file, in hexadecimal.
    input_size
        Height and width in pixels of the preprocessed image.
    crop
        Whether it shows the breast alone, as what is served does; `load_artifact` refuses others.
    calibration, operating_points
        Fitted on validation patients; ``default`` is always there.
    age_calibration
        For images of women whose age is known; None where it was not fitted.
    levels
        What was fitted to breasts and to patients; where it was not, what was fitted to images
        holds for the mean or maximum of their logits too.
    training
        Configuration, data, split and environment of the run.
    metrics
        Measured results: ``validation``, ``test``, ``robustness``, and ``reference`` with those of
        the reference recipe.
    about
        What no command measures: intended use, data and licences, limits.
    distributions
        Deciles of what `mammoscope.service.drift` keeps of images, over the training images.
    compiled
        What was compiled from the .keras for serving; None where nothing was.
    """

    version: str
    sha256: Sha256
    input_size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
    crop: bool = True
    calibration: Calibration = Calibration()
    age_calibration: AgeCalibration | None = None
    operating_points: dict[str, CardOperatingPoint] = Field(
        default_factory=lambda: {DEFAULT_POINT: CardOperatingPoint(threshold=0.5)}
    )
    levels: dict[Literal["breast", "patient"], CardLevel] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)
    about: dict[str, Any] = Field(default_factory=dict)
    distributions: dict[str, Deciles] = Field(default_factory=dict)
    compiled: CardCompiled | None = None

    @model_validator(mode="after")
    def _compiled_from_this_network(self) -> Self:
        if self.compiled is not None and self.compiled.source_sha256 != self.sha256:
            raise ValueError("the compiled network was made from another .keras")
        return self

    def probability(self, logit: float, age: float | None = None) -> tuple[float, bool]:
        """Calibrated probability in [0, 1] of a raw logit, and whether the age entered it.

        Parameters
        ----------
        logit
            The network's raw score.
        age
            The woman's age in years, None where it is not known. A card without an age
            calibration makes no use of it.
        """
        if age is None or self.age_calibration is None:
            return self.calibration.probability(logit), False
        return self.age_calibration.probability(logit, age), True

    def scale(self, level: Level = "image") -> Calibration:
        """Calibration of images, breasts or patients."""
        return self.levels[level].calibration if level in self.levels else self.calibration

    def threshold(self, operating_point: str, level: Level = "image") -> float:
        """Probability from which the label is ``tumour``.

        Raises
        ------
        ConfigurationError
            If the card has no such operating point.
        """
        if operating_point not in self.operating_points:
            raise ConfigurationError(
                "The model has no such operating point; it has "
                f"{', '.join(sorted(self.operating_points))}."
            )
        of_level = self.levels[level].operating_points if level in self.levels else {}
        return of_level.get(operating_point, self.operating_points[operating_point]).threshold
