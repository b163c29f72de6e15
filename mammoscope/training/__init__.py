"""Training: stages, schedules, augmentation, resumable runs and their records.

Nothing is imported here: recipes can be read where TensorFlow is not installed.
"""
