"""The Python API: a loaded model that predicts from files, bytes and arrays."""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, SkipValidation

from mammoscope.imaging.array_reading import read_array
from mammoscope.imaging.arrays import Colours
from mammoscope.imaging.heat_map import overlay
from mammoscope.imaging.mammogram import Mammogram
from mammoscope.imaging.network_input import display_of
from mammoscope.imaging.reading import read, read_file
from mammoscope.model.artifact.card import DEFAULT_POINT, Card
from mammoscope.model.engine import Engine, load_engine
from mammoscope.model.prediction import Prediction
from mammoscope.settings.service import model_path

Source = str | PathLike[str] | bytes | npt.NDArray[Any]
"""A file path, the bytes of a file, or grey pixels."""


class ImagePrediction(Prediction):
    """A `Prediction` with its image, for drawing a heat map.

    Parameters
    ----------
    mammogram
        The image at full resolution.
    """

    mammogram: SkipValidation[Mammogram] = Field(exclude=True, repr=False)

    def heat_map(self) -> Colours:
        """Draw where the network sees evidence of a tumour over the image.

        Returns
        -------
        ndarray
            uint8 (H, W, 3), red, green, blue, of the image's size. Colours range from the least
            (dark blue) to the greatest heat (yellow) in this image, and cannot be compared between
            images.
        """
        return overlay(display_of(self.mammogram), self.logit_map, self.preprocessed)


class Classifier:
    """A loaded model, made by `mammoscope.load`; thread-safe.

    Parameters
    ----------
    engine
        The model's engine.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def card(self) -> Card:
        """Facts about the model: version, input size, calibration, operating points, results."""
        return self._engine.card

    def predict(
        self, image: Source, *, operating_point: str = DEFAULT_POINT, age: float | None = None
    ) -> ImagePrediction:
        """Predict one mammogram.

        Parameters
        ----------
        image
            Path of a JPEG, PNG, TIFF or DICOM file; its bytes; or an array (H, W) of uint8, uint16,
            or floating-point in [0, 1], with bright dense tissue. Integers are divided by the
            maximum of their type.
        operating_point
            Operating point of the card whose threshold decides the label: ``default``,
            ``high_sensitivity`` or ``high_specificity``.
        age
            The woman's age in years, if known; used by the calibration only.

        Returns
        -------
        ImagePrediction
            Includes ``probability``, ``label``, ``warnings`` and ``heat_map()``.

        Raises
        ------
        ImageError
            If the image cannot be read or is not a mammogram.
        ConfigurationError
            If the card has no such operating point.
        """
        mammogram = _read(image)
        found = self._engine.predict(mammogram, operating_point=operating_point, age=age)
        fields = {name: getattr(found, name) for name in Prediction.model_fields}
        return ImagePrediction(**fields, mammogram=mammogram)


def load_classifier(model: str | PathLike[str] | None) -> Classifier:
    """Load a model; see `mammoscope.load`."""
    path = model_path() if model is None else Path(model)
    return Classifier(load_engine(path))


def _read(image: Source) -> Mammogram:
    if isinstance(image, bytes):
        return read(image)
    if isinstance(image, np.ndarray):
        return read_array(image)
    return read_file(Path(image))
