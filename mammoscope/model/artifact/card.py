"""The model card: facts stored with a model."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from mammoscope.errors import ConfigurationError
from mammoscope.imaging.learned_gate import LearnedGate
from mammoscope.imaging.network_input import ReadingOptions
from mammoscope.imaging.preprocessing import pixels_shape
from mammoscope.model.calibration import AgeCalibration, Calibration
from mammoscope.settings.channels import ChannelsName
from mammoscope.settings.frozen import Frozen, PositiveFloat
from mammoscope.settings.service import ReadingLimits

DEFAULT_POINT: Final = "default"

Level = Literal["image", "breast", "patient"]


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Precision = Literal["int8", "bfloat16", "float32"]
"""Precision in which a network computes."""

Deciles = Annotated[tuple[float, ...], Field(min_length=9, max_length=9)]
"""Nine ascending values that divide a distribution into ten equal parts."""


class CardOperatingPoint(Frozen):
    """An operating point: the threshold probability for ``tumour``, and its measurements.

    ``measured_with_age`` is measured at the same threshold, with the age in the probability.
    """

    threshold: Annotated[float, Field(gt=0.0, lt=1.0)]
    measured: dict[str, Any] = Field(default_factory=dict)
    measured_with_age: dict[str, Any] = Field(default_factory=dict)


class CardLevel(Frozen):
    """Calibration and operating points of breasts or patients, fitted on validation patients.

    Without operating points of its own, a level uses those of images.
    """

    calibration: Calibration = Calibration()
    operating_points: dict[str, CardOperatingPoint] = Field(default_factory=dict)


class CardComparison(Frozen):
    """Comparison of a network's scores in int8 or bfloat16 with those in float32.

    Parameters
    ----------
    precision
        The precision compared with float32.
    source
        Source of the images: ``validation`` patients of the training run, its ``training``
        patients, ``images`` of another data set, or ``phantoms``.
    images, positives
        Number of scored images, and of those with label 1.
    auc_float, auc_compiled
        AUC by image, in float32 and in the other precision.
    max_difference, percentile_95_difference, mean_difference
        Absolute differences in the calibrated probability of the same image, in [0, 1].
    labels_changed
        Number of images whose label at the default operating point differs.
    allowed_auc_difference, allowed_difference, allowed_percentile_95, allowed_labels_changed
        Maximum differences at which the other precision is served; the last is a share of the
        images. None does not count.
    """

    precision: Precision = "bfloat16"
    source: Literal["validation", "training", "images", "phantoms"]
    images: Annotated[int, Field(gt=0)]
    positives: int
    auc_float: float
    auc_compiled: float
    max_difference: float
    percentile_95_difference: float
    mean_difference: float
    labels_changed: int
    allowed_auc_difference: float
    allowed_difference: float
    allowed_percentile_95: float | None = None
    allowed_labels_changed: float | None = None


class CardCompiled(Frozen):
    """Results of ``mammoscope compile --data``.

    Parameters
    ----------
    precision
        ``int8``: the network computes in 8 bits; ``bfloat16``: in bfloat16 if the CPU supports it;
        where it does not, or scores differ, in float32 from the same weights. ``float32``: it
        computes in float32.
    comparison
        Comparison with float32, on which the choice was based.
    reference_logits
        Logits of the phantoms of `mammoscope.model.engine.score_phantoms` in this precision. If
        another CPU gives different scores, the network computes in float32 there. Empty if not
        measured.
    packages
        Versions of the packages used, by name.
    """

    precision: Precision
    comparison: CardComparison
    reference_logits: tuple[float, ...] = ()
    packages: dict[str, str] = Field(default_factory=dict)


class CardQuantisation(Frozen):
    """What a network learned that was trained to compute in 8 bits.

    Parameters
    ----------
    ranges
        Ends of the ranges, which begin at 0, of the inputs of the backbone's convolutions that
        compute in 8 bits, by layer.
    comparison
        Comparison with the network from which it learned, in float32, on the validation patients;
        on the training patients of a run without.
    """

    ranges: Annotated[dict[str, PositiveFloat], Field(min_length=1)]
    comparison: CardComparison


def _without_files(compiled: Mapping[str, Any]) -> dict[str, Any] | None:
    """Convert a card of version 0.1 or earlier, which names compiled files, and keep what is valid.

    Networks compiled by methods other than bfloat16 are no longer made, so their facts are dropped.
    """
    if compiled["method"] != "bfloat16":
        return None
    comparison = dict(compiled["comparison"])
    comparison["images"] = comparison.pop("pictures")
    if comparison["source"] == "pictures":
        comparison["source"] = "images"
    packages = compiled.get("packages", {})
    return {
        "precision": "bfloat16",
        "comparison": comparison,
        "reference_logits": compiled.get("phantom_logits", ()),
        "packages": {name: packages[name] for name in ("keras", "openvino") if name in packages},
    }


class Card(Frozen):
    """Facts stored with a model.

    Parameters
    ----------
    version
        Version of the model, not of the software.
    sha256
        SHA-256 of the .keras file, in hexadecimal.
    input_size
        Height and width in pixels of the preprocessed image.
    channels
        Channels of the preprocessed image, as in `mammoscope.imaging.preprocessing.preprocess`.
    crop
        Whether the preprocessed image is cropped to the breast. `load_artifact` refuses other
        models.
        Fitted on validation patients; ``default`` always exists.
    age_calibration
        For images of women of known age; None if not fitted.
    levels
        Calibrations of breasts and patients. A level without one uses that of images for the mean
        or maximum of their logits.
    training
        Configuration, data, split and environment of the run.
    metrics
        Measured results: ``validation`` (with ``by_folds``, the run whose networks were measured,
        if the model itself learned from these patients), ``test``, ``robustness``, ``folds`` and
        ``folds_with_age`` (that run compared with another), ``external`` by data set, and
        ``reference`` with those of the reference recipe.
    about
        What no command measures: intended use, data and licences, limits.
    distributions
        Deciles of the image statistics of `mammoscope.service.drift`, over the training images.
    compiled
        Precision in which the network is served, and the reason. None if not measured; the network
        is then served in float32.
    quantisation
        None for a network that was not trained to compute in 8 bits.
    gate
        Refuses images that are no mammograms, beside the rules; None where it was not fitted, and
        the rules are alone.
    """

    version: str
    sha256: Sha256
    input_size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
    channels: ChannelsName = "ranks"
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
    quantisation: CardQuantisation | None = None
    gate: LearnedGate | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_earlier_form(cls, facts: Any) -> Any:
        compiled = facts.get("compiled") if isinstance(facts, dict) else None
        if not isinstance(compiled, dict) or "method" not in compiled:
            return facts
        if compiled.get("source_sha256") != facts.get("sha256"):
            raise ValueError("the compiled network was made from another .keras")
        try:
            return {**facts, "compiled": _without_files(compiled)}
        except (AttributeError, KeyError, TypeError) as err:
            raise ValueError("the compiled network has no valid description") from err

    @model_validator(mode="after")
    def _int8_needs_ranges(self) -> Self:
        if self.compiled and self.compiled.precision == "int8" and not self.quantisation:
            raise ValueError("a network without ranges cannot compute in 8 bits")
        return self

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a preprocessed image: (H, W), or (H, W, 3) of three channels."""
        return pixels_shape(self.input_size, self.channels)

    @property
    def tensor_shape(self) -> tuple[int, int, int]:
        """Height, width and number of channels of the network's input."""
        height, width, *channels = self.input_shape
        return height, width, channels[0] if channels else 1

    def reading_options(
        self,
        limits: ReadingLimits | None = None,
        *,
        pseudonym_key: bytes | None = None,
        display: bool = False,
    ) -> ReadingOptions:
        """Return how to read an image for this network; see `ReadingOptions`."""
        return ReadingOptions(
            self.input_size,
            self.channels,
            limits or ReadingLimits(),
            pseudonym_key=pseudonym_key,
            display=display,
            gate=self.gate,
        )

    def probability(self, logit: float, age: float | None = None) -> tuple[float, bool]:
        """Return the calibrated probability in [0, 1] of a raw logit, and whether the age was used.

        Parameters
        ----------
        logit
            The network's raw score.
        age
            The woman's age in years; None if unknown. A card without an age calibration ignores it.
        """
        if age is None or self.age_calibration is None:
            return self.calibration.probability(logit), False
        return self.age_calibration.probability(logit, age), True

    def scale(self, level: Level = "image") -> Calibration:
        """Return the calibration of images, breasts or patients."""
        return self.levels[level].calibration if level in self.levels else self.calibration

    def threshold(self, operating_point: str, level: Level = "image") -> float:
        """Return the probability from which the label is ``tumour``.

        Raises
        ------
        ConfigurationError
            If the card has no such operating point.
        """
        return self.operating_point(operating_point, level).threshold

    def operating_point(self, name: str, level: Level = "image") -> CardOperatingPoint:
        """Return an operating point of images, breasts or patients.

        A level without an operating point of its own has the threshold of images, and no
        measurements.

        Raises
        ------
        ConfigurationError
            If the card has no such operating point.
        """
        if name not in self.operating_points:
            raise ConfigurationError(
                "The model has no such operating point; it has "
                f"{', '.join(sorted(self.operating_points))}."
            )
        of_images = self.operating_points[name]
        if level == "image":
            return of_images
        of_level = self.levels[level].operating_points if level in self.levels else {}
        return of_level.get(name, CardOperatingPoint(threshold=of_images.threshold))
