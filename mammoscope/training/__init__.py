"""Training: stages, schedules, augmentation, resumable runs and their records.

This module imports nothing, so that recipes can be read without TensorFlow.
"""
