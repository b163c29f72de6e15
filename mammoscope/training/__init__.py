"""Training: stages, schedules, augmentation, resumable runs and their records."""

from mammoscope.training.division import DividedData, divide
from mammoscope.training.run import RunPaths, train

__all__ = ["DividedData", "RunPaths", "divide", "train"]
