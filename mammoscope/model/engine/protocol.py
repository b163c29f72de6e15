"""The interface of inference engines."""

from dataclasses import dataclass
from typing import Protocol

from mammoscope.imaging.arrays import Float, Pixels
from mammoscope.imaging.mammogram import Mammogram
from mammoscope.imaging.network_input import NetworkInput
from mammoscope.model.artifact.card import Card
from mammoscope.model.prediction import Prediction


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Raw outputs of the network for N preprocessed images.

    ``logits`` is float32 (N,), unbounded. ``logit_maps`` is float32 (N, h, w): the logit that each
    cell of the last feature map would give alone.
    """

    logits: Float
    logit_maps: Float


class Engine(Protocol):
    """A network with its card; thread-safe."""

    @property
    def card(self) -> Card:
        """The model card: input size, calibration, operating points and version."""
        ...

    def predict(
        self,
        image: Mammogram | NetworkInput,
        /,
        *,
        operating_point: str = ...,
        age: float | None = ...,
    ) -> Prediction:
        """Run the network on one image, preprocess it if necessary, and calibrate its logit."""
        ...

    def infer(self, pixels: Pixels, /) -> Scores:
        """Run the network on preprocessed images, uint8 (N, H, W) or (N, H, W, 3)."""
        ...
