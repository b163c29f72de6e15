"""`mammoscope` with a small network in the place of Inception v3, for tests of what is around it.

The grid of its last layer is that of Inception v3 for images of any size; it has five convolutions
instead of 94. Nearly all the time of a training on phantoms goes into building and saving the
network.

``python -m tests.training.small_network ARGUMENTS`` is ``mammoscope ARGUMENTS`` with it.
"""

import sys
from typing import Any

import keras
from keras import layers

from mammoscope.__main__ import main
from mammoscope.cli import trainings
from mammoscope.model import networks


def build_small(
    include_top: bool, weights: None, input_shape: tuple[int, int, int], name: str
) -> keras.Model:
    """Take the arguments of `keras.applications.InceptionV3`."""
    assert not include_top
    assert weights is None
    pixels = keras.Input(input_shape)
    features = pixels
    for number, (filters, strides) in enumerate([(4, 2), (4, 1), (8, 1), (8, 2), (16, 2)]):
        if number in (2, 3):
            features = layers.MaxPooling2D(3, strides=2, name=f"pool{number}")(features)
        convolution = layers.Conv2D(
            filters, 3, strides=strides, use_bias=False, name=f"conv{number}"
        )
        features = convolution(features)
        standard = layers.BatchNormalization(scale=False, name=f"standard{number}")
        mixed = layers.Activation("relu", name=f"mixed{number}")
        features = mixed(standard(features))
    return keras.Model(pixels, features, name=name)


SMALL = networks._BACKBONES["inceptionv3"]._replace(build=build_small)


def use_small_network() -> None:
    """Build it wherever this process builds Inception v3 from now on."""
    networks._BACKBONES["inceptionv3"] = SMALL


_train = trainings._train


def train(*arguments: Any) -> None:
    """Stand in for the training process of ``mammoscope dev trainings``."""
    use_small_network()
    _train(*arguments)


if __name__ in ("__main__", "__mp_main__"):  # here, and in the processes of one training
    use_small_network()

if __name__ == "__main__":
    sys.exit(main())
