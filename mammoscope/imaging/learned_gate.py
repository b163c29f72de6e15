"""A learned part of the quality gate: whether an image looks like other mammograms.

It complements the rules of `mammoscope.imaging.quality` with a linear model of the search copy,
reduced to a few grey values. ``mammoscope dev gate`` fits the model on mammograms and other
images, and its parameters are part of the model's card.
"""

from typing import Annotated, Final

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from mammoscope.imaging.preprocessing import Preprocessed
from mammoscope.settings.frozen import Frozen

SIDE: Final = 16
"""Side in pixels of the reduced search copy."""

Number = Annotated[float, Field(allow_inf_nan=False)]


class LearnedGate(Frozen):
    """A linear model that distinguishes mammograms from other images.

    Parameters
    ----------
    weights
        One weight for each grey value of `look_of`.
    bias
        Constant added to the weighted sum.
    refuse_below, warn_below
        Scores below which an image is refused, and below which it gets a warning. Of the images
        used for fitting with a score of 0, half are mammograms.
    """

    weights: Annotated[tuple[Number, ...], Field(min_length=SIDE**2, max_length=SIDE**2)]
    bias: Number
    refuse_below: Number
    warn_below: Number

    @model_validator(mode="after")
    def _refuses_less_than_it_warns(self) -> "LearnedGate":
        if self.refuse_below > self.warn_below:
            raise ValueError("refuse_below must not be above warn_below")
        return self

    def score(self, preprocessed: Preprocessed) -> float:
        """Score how much an image looks like a mammogram: unbounded, high for mammograms."""
        return float(look_of(preprocessed) @ np.array(self.weights)) + self.bias

    def refuses(self, preprocessed: Preprocessed) -> bool:
        """Whether an image is refused."""
        return self.score(preprocessed) < self.refuse_below

    def vouches(self, preprocessed: Preprocessed) -> bool:
        """Whether an image is more likely a mammogram than not, and gets no warning."""
        return self.score(preprocessed) >= max(0.0, self.warn_below)

    def doubts(self, preprocessed: Preprocessed) -> bool:
        """Whether an image is refused or gets a warning."""
        return self.score(preprocessed) < self.warn_below


def look_of(preprocessed: Preprocessed) -> npt.NDArray[np.float64]:
    """Reduce the search copy to `SIDE` x `SIDE` grey values in [0, 1], chest wall on the left."""
    copy = preprocessed.search_copy
    if preprocessed.mirrored:
        copy = np.ascontiguousarray(copy[:, ::-1])
    small = cv2.resize(copy, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float64).ravel()
