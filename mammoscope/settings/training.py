"""Configuration of a training run, and its presets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from mammoscope.settings.frozen import Frozen, PositiveFloat, PositiveInt, explain

BackboneName = Literal["inceptionv3", "resnet101v2", "xception"]
ScheduleName = Literal["constant", "cosine", "exponential", "cyclical", "plateau"]
AugmentationName = Literal["none", "flips", "erasing", "jitter", "light", "strong"]
PrecisionName = Literal["auto", "float32", "mixed_bfloat16"]
SplitName = Literal["patients", "published"]
HeadStartName = Literal["auto", "gradient", "regression"]
HeadName = Literal["mean", "mean_max", "depths", "logit_map"]
POOLING_HEADS: Final = ("mean_max", "depths")
"""Heads that weight pooled features, rather than pool a map of scores."""

PresetName = Literal["default", "frozen", "reference", "smoke", "ddsm"]

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class TrainConfig(Frozen):
    """Everything a training run depends on but the images themselves."""

    backbone: BackboneName = "inceptionv3"
    weights: str = "imagenet"
    """``imagenet``, ``none``, a backbone's ``.weights.h5``, or the ``.keras`` of an earlier run."""
    input_size: tuple[PositiveInt, PositiveInt] = (704, 416)
    """Height and width in pixels of the box every breast is stretched to."""
    crop: bool = True
    """Whether the breast alone is shown, stretched to the box, or the whole image around it, to
    see what cropping brings; a network trained on whole images is not served."""
    layout: Literal["folders", "ddsm", "ddsm-cancers"] = "folders"
    """How the folder names images: see `mammoscope.data.dataset` and `mammoscope.data.ddsm`."""
    smoothing: Annotated[int, Field(ge=0, le=4)] = 0
    """How often 2 x 2 neighbours are averaged inside the network before anything else: a binomial
    low pass, without which scores depend on how a copy of the image was resampled."""
    split: SplitName = "patients"
    validation_fraction: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.2
    head: HeadName = "depths"
    trainable_from: str = "auto"
    """Backbone layer after which convolutions learn, ``all``, ``none``, or ``auto``: the upper two
    thirds of the backbone."""
    batch_size: PositiveInt = 16
    drop_rate: Fraction = 0.3
    folds: Annotated[int, Field(ge=0, le=20)] = 5
    """Where only the head is fitted, by regression: into how many parts, by patient, all images
    are divided, each scored by a head fitted to the others, while the released head is fitted to
    all. 0 sets `validation_fraction` aside instead, as runs with `epochs` do."""
    learning_rate: PositiveFloat = 5e-5
    schedule: ScheduleName = "cosine"
    warmup_fraction: Fraction = 0.1
    """Share of all steps in which the learning rate rises from 0."""
    epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs in which the backbone learns along."""
    stop_after: Annotated[int, Field(ge=1)] | None = None
    """Epoch after which the run ends although the schedule is made for all `epochs`: early
    stopping, by whoever watches the validation; a run that was stopped may be resumed with it."""
    head_epochs: Annotated[int, Field(ge=0)] = 1
    """Epochs before those, in which only the head learns, at `head_learning_rate`."""
    head_learning_rate: PositiveFloat = 1e-3
    head_start: HeadStartName = "auto"
    """How the head learns in `head_epochs`: by steps, or by one logistic regression on the pooled
    features of the images as they are and of so many augmented passes; ``auto``: the latter for
    heads that have such features, ``mean_max`` and ``depths``."""
    head_learns: bool = True
    """Whether the head learns along with the backbone; a head fitted by regression may better stay
    as it is, since its thousands of small weights drown in the noise of the steps."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-4
    label_smoothing: Fraction = 0.05
    ema_momentum: Fraction = 0.99
    """Momentum a step of the moving average of weights; 0 switches it off."""
    augmentation: AugmentationName = "strong"
    auxiliary: bool = True
    """Whether the metadata's columns serve as further targets while training."""
    teachers: tuple[str, ...] = ()
    """Folders of earlier runs, of the same kind of network and the same split, whose mean answer
    is learned beside the labels."""
    teacher_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.7
    """Weight of that answer's loss, where there are teachers; the label's is the rest."""
    precision: PrecisionName = "auto"
    """``auto``: bfloat16 where the processor multiplies it in hardware."""
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _regression_needs_pooled_features(self) -> Self:
        if self.head_start == "regression" and self.head not in POOLING_HEADS:
            raise ValueError(f"head_start regression needs head {' or '.join(POOLING_HEADS)}")
        return self

    @model_validator(mode="after")
    def _something_learns(self) -> Self:
        if self.epochs == 0 and self.head_epochs == 0:
            raise ValueError("epochs and head_epochs are both 0, so nothing would learn")
        if self.folds == 1:
            raise ValueError("folds is 1; 0 or at least 2 is allowed")
        return self

    @model_validator(mode="after")
    def _teachers_need_epochs(self) -> Self:
        if self.teachers and self.epochs == 0:
            raise ValueError("teachers are learned from in epochs, of which there are 0")
        return self

    @property
    def is_cross_fitted(self) -> bool:
        """Whether validation takes every image once, in folds."""
        return self.starts_from_regression and self.epochs == 0 and self.folds > 0

    @property
    def starts_from_regression(self) -> bool:
        """Whether the head is fitted by regression before the first step."""
        return self.head_epochs > 0 and (
            self.head_start == "regression"
            or (self.head_start == "auto" and self.head in POOLING_HEADS)
        )

    @field_validator("input_size")
    @classmethod
    def _large_enough(cls, size: tuple[int, int]) -> tuple[int, int]:
        if min(size) < 96 or max(size) > 4096:
            raise ValueError("height and width must be between 96 and 4096 pixels")
        return size

    def described(self) -> dict[str, Any]:
        """The configuration as JSON that may be published: files and folders by name alone."""
        return {
            **self.model_dump(mode="json"),
            "weights": Path(self.weights).name,
            "teachers": [Path(teacher).name for teacher in self.teachers],
        }

    @classmethod
    def from_preset(cls, preset: PresetName, changes: Mapping[str, Any]) -> Self:
        """The configuration named `preset` with `changes` applied.

        Raises
        ------
        ConfigurationError
            If a change names an unknown key or a value that is not allowed.
        """
        try:
            return cls.model_validate({**PRESETS[preset], **changes})
        except ValidationError as err:
            raise explain(err, "The training configuration") from err


PRESETS: Final[Mapping[PresetName, Mapping[str, Any]]] = {
    # Ours: see README, "How the model is trained".
    "default": {
        "input_size": (299, 299),
        "head": "mean",
        "trainable_from": "all",
        "batch_size": 32,
        "drop_rate": 0.5,
        "learning_rate": 2e-5,
        "warmup_fraction": 0.0,
        "epochs": 10,
        "head_epochs": 0,
        "weight_decay": 0.0,
        "label_smoothing": 0.0,
        "augmentation": "flips",
        "auxiliary": False,
        "ema_momentum": 0.98,
    },
    # The backbone as it is, the head by regression on its features at five depths: minutes.
    "frozen": {},
    # The reference project's final recipe, on our preprocessing and splits.
    "reference": {
        "input_size": (299, 299),
        "head": "mean",
        "trainable_from": "all",
        "batch_size": 32,
        "drop_rate": 0.5,
        "learning_rate": 1e-5,
        "schedule": "constant",
        "warmup_fraction": 0.0,
        "epochs": 10,
        "head_epochs": 0,
        "weight_decay": 0.0,
        "label_smoothing": 0.0,
        "augmentation": "none",
        "auxiliary": False,
        "ema_momentum": 0.0,
    },
    # Seconds on a laptop: shows that everything works, learns nothing.
    "smoke": {
        "weights": "none",
        "input_size": (96, 96),
        "epochs": 2,
        "head_epochs": 1,
        "batch_size": 8,
        "precision": "float32",
    },
    # Warm-up on the DDSM images: outlined malignant lesion against the same woman's others.
    "ddsm": {
        "layout": "ddsm-cancers",
        "input_size": (299, 299),
        "head": "mean",
        "trainable_from": "all",
        "batch_size": 32,
        "drop_rate": 0.5,
        "learning_rate": 5e-5,
        "epochs": 5,
        "head_epochs": 0,
        "label_smoothing": 0.0,
        "augmentation": "flips",
        "auxiliary": False,
        "ema_momentum": 0.98,
        "validation_fraction": 0.1,
    },
}
