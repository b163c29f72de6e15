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
)
from mammoscope.settings.training import (
    POOLING_HEADS,
    PRESETS,
    BackboneName,
    HeadName,
    PresetName,
    ScheduleName,
    TrainConfig,
)

__all__ = [
    "ENVIRONMENT_PREFIX",
    "POOLING_HEADS",
    "PRESETS",
    "BackboneName",
    "HeadName",
    "OperatingPointName",
    "PerformanceMode",
    "PresetName",
    "ReadingLimits",
    "ScheduleName",
    "ServiceSettings",
    "TrainConfig",
]
