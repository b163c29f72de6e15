"""A `Mammogram` to the network's input, in the same way for training, evaluation and service."""

from mammoscope.imaging.preprocessing.erasing import erase_tissue
from mammoscope.imaging.preprocessing.pipeline import Preprocessed, preprocess

__all__ = ["Preprocessed", "erase_tissue", "preprocess"]
