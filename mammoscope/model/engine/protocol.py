"""The inference engine as the rest of the package sees it."""

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

    ``logits`` is float32 (N,), unbounded; ``logit_maps`` is float32 (N, h, w): the logit that each
    cell of the last feature map gives alone.
    """

    logits: Float
    logit_maps: Float


class Engine(Protocol):
    """A network with its card; safe to use from several threads."""

    @property
    def card(self) -> Card:
        """Input size, calibration, operating points and version of the model."""
        ...

    def predict(
        self,
        image: Mammogram | NetworkInput,
        /,
        *,
        operating_point: str = ...,
        age: float | None = ...,
    ) -> Prediction:
        """Run the network on one image, preprocessed if it is not yet, and calibrate its logit."""
        ...

    def infer(self, pixels: Pixels, /) -> Scores:
        """Run the network on preprocessed images, uint8 (N, H, W)."""
        ...
