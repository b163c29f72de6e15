"""A `Mammogram` to the network's input: the one preparation of training, evaluation and service."""

from mammoscope.imaging.preprocessing.erasing import erase_tissue
from mammoscope.imaging.preprocessing.pipeline import Preparation, prepare

__all__ = ["Preparation", "erase_tissue", "prepare"]
