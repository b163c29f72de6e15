"""Frozen settings of the service and of training.

This is the only part of the package that reads the environment. Defaults stand here and nowhere
else; an unknown key is an error.
"""

from mammoscope.settings.service import (
    ENVIRONMENT_PREFIX,
    OperatingPointName,
    PerformanceMode,
    ReadingLimits,
    ServiceSettings,
    cache_folder,
    model_path,
    released_model,
)
from mammoscope.settings.training import (
    PRESETS,
    AugmentationName,
    BackboneName,
    HeadName,
    PrecisionName,
    PresetName,
    ScheduleName,
    SplitName,
    TrainConfig,
)

__all__ = [
    "ENVIRONMENT_PREFIX",
    "PRESETS",
    "AugmentationName",
    "BackboneName",
    "HeadName",
    "OperatingPointName",
    "PerformanceMode",
    "PrecisionName",
    "PresetName",
    "ReadingLimits",
    "ScheduleName",
    "ServiceSettings",
    "SplitName",
    "TrainConfig",
    "cache_folder",
    "model_path",
    "released_model",
]
