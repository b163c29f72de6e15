"""Turn a `Mammogram` into the network's input, identically in training, evaluation and service."""

from mammoscope.imaging.preprocessing.erasing import erase_tissue
from mammoscope.imaging.preprocessing.pipeline import Preprocessed, pixels_shape, preprocess

__all__ = ["Preprocessed", "erase_tissue", "pixels_shape", "preprocess"]
