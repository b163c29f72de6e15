"""Requests, problems and status answers of the service.

Predictions and study results are in `mammoscope.model.prediction` and `mammoscope.studies.results`.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.model.prediction import AGES_YEARS, Answer, Prediction

HEAT_MAP_TYPE: Final = "image/png"
Age = Annotated[float, Field(ge=AGES_YEARS[0], le=AGES_YEARS[1])]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class UrlRequest(_Closed):
    """An image by URL, and optionally the woman's age in years."""

    url: str
    age: Age | None = None


class HeatMap(Answer):
    """Heat map of a prediction, drawn over the image and encoded as PNG in base64."""

    media_type: Literal["image/png"]
    base64: str


class Layers(Answer):
    """What a viewer lays over an image: images are PNG in base64.

    ``box`` is the crop (top, left, bottom, right) that both show, as shares of the image's height
    and width. The preprocessed image is mirrored where ``mirrored`` says so, the heat is not.
    """

    preprocessed: str
    heat: str
    heat_range: tuple[float, float]
    box: tuple[float, float, float, float]
    mirrored: bool
    inverted: bool
    laterality: Laterality | None
    view: View | None


class PredictionAnswer(Prediction):
    """The prediction for one image; with a heat map or layers only if requested."""

    heat_map: HeatMap | None = None
    layers: Layers | None = None


class ModelAnswer(BaseModel):
    """The public part of the model's card."""

    version: str
    sha256: str
    input_size: Annotated[list[int], Field(min_length=2, max_length=2)]
    classes: list[str]
    operating_point: str
    notice: str


class StatusAnswer(_Closed):
    """State of the service."""

    status: str
    model_version: str | None = None


class Problem(BaseModel):
    """An error (RFC 9457): ``code`` is stable and for programs, ``detail`` is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None


class InferenceAnswer(BaseModel):
    """An answer of the Open Inference Protocol."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[dict[str, Any]]
