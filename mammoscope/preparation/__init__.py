"""A `Mammogram` to the network's input: the one preparation of training, evaluation and service."""

from mammoscope.preparation.erasing import erase_tissue
from mammoscope.preparation.preparing import Preparation, prepare

__all__ = ["Preparation", "erase_tissue", "prepare"]
