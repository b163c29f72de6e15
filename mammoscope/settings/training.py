"""Configuration of a training run, and its presets."""

import json
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from mammoscope.errors import ConfigurationError
from mammoscope.settings.channels import ChannelsName
from mammoscope.settings.frozen import Frozen, PositiveFloat, PositiveInt, explain
from mammoscope.system import schema

CONFIG_SCHEMA: Final = 2
"""Schema of new configurations. Those of schema 1 may have settings that were removed."""

BackboneName = Literal["inceptionv3", "resnet101v2", "xception"]
ScheduleName = Literal["constant", "cosine", "exponential", "cyclical", "plateau"]
AugmentationName = Literal["none", "flips", "erasing", "copies", "jitter"]
PrecisionName = Literal["auto", "float32", "mixed_bfloat16"]
SplitName = Literal["patients", "published"]
HeadName = Literal["mean", "logit_map", "lesions"]
PresetName = Literal["default", "reference", "smoke"]

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]

_HARMLESS: Final[Mapping[str, Container[Any]]] = {
    "auxiliary": (False,),
    "folds": range(21),
    "head_learns": (True,),
    "head_start": ("auto", "gradient"),
}
"""Removed settings, with the values at which an old run equals one of this version."""

_REMOVED: Final[Mapping[str, Container[Any]]] = {
    "head": ("depths", "mean_max"),
    "augmentation": ("light", "strong"),
    "layout": ("ddsm", "ddsm-cancers"),
}
"""Removed values of settings."""


class TrainConfig(Frozen):
    """Everything a training run depends on, except the images.

    The defaults are the preset ``default``.
    """

    backbone: BackboneName = "inceptionv3"
    weights: str = "imagenet"
    """``imagenet``, ``none``, a backbone's ``.weights.h5``, or the ``.keras`` of an earlier run."""
    input_size: tuple[PositiveInt, PositiveInt] = (299, 299)
    """Height and width in pixels to which each breast is stretched."""
    crop: bool = True
    """Whether to crop to the breast. False keeps the whole image, to measure the effect of
    cropping; such a network cannot be served."""
    channels: ChannelsName = "ranks"
    """Ranks of grey values only, or three channels: ranks, a linear window, local contrast."""
    layout: Literal["folders", "lesions"] = "folders"
    """How the folder names images: see `mammoscope.data.dataset` and `mammoscope.data.lesions`."""
    labels: tuple[str, str] = ("0", "1")
    """Names of the folders of label 0 and label 1 in the layout ``folders``."""
    smoothing: Annotated[int, Field(ge=0, le=4)] = 0
    """Number of times the network averages 2 x 2 neighbours first. This binomial low pass makes
    scores depend less on how a copy of the image was resampled."""
    smoothing_width: Annotated[int, Field(ge=0, le=4)] = 0
    """Number of times it then averages 1 x 2 neighbours: a low pass for copies of reduced width."""
    split: SplitName = "patients"
    validation_fraction: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.2
    fold: PositiveInt | None = None
    """Fold of the committed table whose patients are used for validation; None uses a share
    `validation_fraction` of the patients."""
    calibrated_on: tuple[str, ...] = ()
    """Folders of runs with folds. This network is trained on the patients of all folds, and
    calibrated and measured with those runs' predictions, each for a patient that its network was
    not trained on: with those of one run that was trained like this one, or with the mean of
    several, from which this one learns as its `teachers`."""
    head: HeadName = "mean"
    trainable_from: str = "all"
    """Backbone layer after which convolutions are trainable; or ``all``, ``none``, or ``auto``: the
    upper two thirds of the backbone."""
    batch_size: PositiveInt = 32
    drop_rate: Fraction = 0.5
    learning_rate: PositiveFloat = 2e-5
    head_rate: PositiveFloat = 1.0
    """Multiple of `learning_rate` for the head while it is trained together with the backbone."""
    lesion_share: Fraction = 0.0
    """Share of films with outlined lesions in each batch, for the head ``lesions``."""
    schedule: ScheduleName = "cosine"
    warmup_fraction: Fraction = 0.0
    """Share of all steps during which the learning rate rises from 0."""
    epochs: Annotated[int, Field(ge=0)] = 10
    """Epochs in which the backbone is trained, too."""
    stop_after: Annotated[int, Field(ge=1)] | None = None
    """Epoch after which the run ends, although the schedule is made for all `epochs`. A stopped run
    may be resumed with another value."""
    head_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs before those, in which only the head is trained, at `head_learning_rate`."""
    head_learning_rate: PositiveFloat = 1e-3
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    label_smoothing: Fraction = 0.0
    ema_momentum: Fraction = 0.98
    """Momentum per step of the moving average of weights; 0 turns it off."""
    augmentation: AugmentationName = "flips"
    teachers: tuple[str, ...] = ()
    """Folders of training runs to distil from: the network is trained on their mean prediction in
    addition to the labels. They must have the same kind of network and the same split. With
    `calibrated_on`, they are runs with folds and may have other kinds of networks: an image's
    prediction comes from networks that were not trained on its patient."""
    teacher_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.7
    """Weight of the teachers' prediction in the loss; the rest is the label's."""
    precision: PrecisionName = "auto"
    """``auto``: bfloat16 if the processor supports it in hardware."""
    imitation: bool = False
    """Whether the network in `weights`, the .keras of an earlier run, learns to give the outputs
    for augmented images that it gave for the images, without labels. With augmentation ``copies``,
    its scores depend less on how a copy was made."""
    quantised: bool = False
    """Whether to train for 8 bits: as `imitation`, with quantised weights and activations; see
    `mammoscope.training.quantisation`."""
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _something_learns(self) -> Self:
        if self.epochs == 0 and self.head_epochs == 0:
            raise ValueError("epochs and head_epochs are both 0, so nothing would be trained")
        if self.teachers and self.epochs == 0:
            raise ValueError("teachers need epochs, but epochs is 0")
        return self

    @model_validator(mode="after")
    def _nobody_is_left_for_validation(self) -> Self:
        if self.calibrated_on and (
            self.fold is not None or self.layout != "folders" or self.schedule == "plateau"
        ):
            raise ValueError("calibrated_on needs no fold, layout folders, and no schedule plateau")
        return self

    @model_validator(mode="after")
    def _lesions_need_cells(self) -> Self:
        if self.learns_lesions and self.head != "lesions":
            raise ValueError("outlined lesions need head lesions")
        if self.layout == "lesions" and self.teachers:
            raise ValueError("layout lesions has no labels, and so no teachers")
        if self.head == "lesions" and self.backbone != "inceptionv3":
            raise ValueError("head lesions supports only the cells of inceptionv3")
        return self

    @property
    def measured_by(self) -> str | None:
        """Names of the runs in `calibrated_on`, as ``mammoscope dev compare`` names their mean."""
        return "+".join(Path(run).name for run in self.calibrated_on) or None

    @property
    def learns_lesions(self) -> bool:
        """Whether the run trains on films with outlined lesions."""
        return self.layout == "lesions" or self.lesion_share > 0.0

    @property
    def imitates(self) -> bool:
        """Whether an earlier network's outputs are learned instead of labels."""
        return self.imitation or self.quantised

    @model_validator(mode="after")
    def _imitates_a_network(self) -> Self:
        if not self.imitates:
            return self
        name = "quantised" if self.quantised else "imitation"
        if self.weights in ("imagenet", "none") or self.weights.endswith(".h5"):
            raise ValueError(f"{name} needs weights, the .keras of an earlier run")
        if self.learns_lesions or self.teachers or self.head_epochs or self.drop_rate:
            raise ValueError(f"{name} needs drop_rate 0, and no lesions, teachers or head_epochs")
        if self.augmentation in ("erasing", "jitter"):
            raise ValueError(f"{name} needs an augmentation that keeps all tissue")
        if self.quantised and self.backbone != "inceptionv3":
            raise ValueError("quantised supports only backbone inceptionv3")
        if self.quantised and self.precision == "mixed_bfloat16":
            raise ValueError("quantised needs precision auto or float32")
        return self

    @field_validator("input_size")
    @classmethod
    def _large_enough(cls, size: tuple[int, int]) -> tuple[int, int]:
        if min(size) < 96 or max(size) > 4096:
            raise ValueError("height and width must be between 96 and 4096 pixels")
        return size

    def to_record(self) -> dict[str, Any]:
        """Return the configuration as JSON for ``config.json``, with its schema version."""
        return {schema.KEY: CONFIG_SCHEMA, **self.model_dump(mode="json")}

    def described(self) -> dict[str, Any]:
        """Return the configuration as JSON for publication: files and folders by name only."""
        return {
            **self.to_record(),
            "weights": Path(self.weights).name,
            "teachers": [Path(teacher).name for teacher in self.teachers],
            "calibrated_on": [Path(run).name for run in self.calibrated_on],
        }

    @classmethod
    def from_preset(cls, preset: PresetName, changes: Mapping[str, Any]) -> Self:
        """Return the configuration named `preset`, with `changes` applied.

        Raises
        ------
        ConfigurationError
            If a change has an unknown key or an invalid value.
        """
        try:
            return cls.model_validate({**PRESETS[preset], **changes})
        except ValidationError as err:
            raise explain(err, "The training configuration") from err

    @classmethod
    def from_record(cls, content: bytes) -> Self:
        """Read the ``config.json`` of a run of this or an earlier version.

        Raises
        ------
        ConfigurationError
            If `content` is not a configuration, is from a newer version of Mammoscope, or the run
            used a removed feature.
        """
        try:
            stored = json.loads(content)
        except ValueError as err:
            raise ConfigurationError("The run's configuration is not JSON.") from err
        if not isinstance(stored, dict):
            raise ConfigurationError("The run's configuration is not a JSON object.")
        try:
            schema.require_known(stored.pop(schema.KEY, None), CONFIG_SCHEMA, "run's configuration")
        except schema.SchemaError as err:
            raise ConfigurationError(str(err)) from err
        gone = [
            f"{key} {stored[key]}"
            for key in stored
            if (key in _HARMLESS and stored[key] not in _HARMLESS[key])
            or (key in _REMOVED and stored[key] in _REMOVED[key])
        ]
        if gone:
            raise ConfigurationError(
                f"The run used {', '.join(gone)}, which this version no longer supports. Train "
                "again with one of its presets."
            )
        try:
            return cls.model_validate({k: v for k, v in stored.items() if k not in _HARMLESS})
        except ValidationError as err:
            raise explain(err, "The run's configuration") from err


PRESETS: Final[Mapping[PresetName, Mapping[str, Any]]] = {
    # The project's recipe: see docs/experiments/released-model.md.
    "default": {},
    # The reference project's final recipe, with our preprocessing and splits.
    "reference": {
        "learning_rate": 1e-5,
        "schedule": "constant",
        "augmentation": "none",
        "ema_momentum": 0.0,
    },
    # Takes seconds on a laptop: shows that everything works, but learns nothing.
    "smoke": {
        "weights": "none",
        "input_size": (96, 96),
        "trainable_from": "auto",
        "batch_size": 8,
        "drop_rate": 0.3,
        "learning_rate": 5e-5,
        "warmup_fraction": 0.1,
        "epochs": 2,
        "head_epochs": 1,
        "weight_decay": 1e-4,
        "label_smoothing": 0.05,
        "ema_momentum": 0.99,
        "precision": "float32",
    },
}
