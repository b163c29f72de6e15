"""Training: stages, schedules, augmentation, resumable runs and their records."""

from mammoscope.training.run import DividedData, RunPaths, divide, train

__all__ = ["DividedData", "RunPaths", "divide", "train"]
