"""What is sent and answered, as schemas: they describe the wire format and are not in its way."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mammoscope.model.prediction import AGES_YEARS

Label = Literal["no tumour", "tumour"]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Age = Annotated[float, Field(ge=AGES_YEARS[0], le=AGES_YEARS[1])]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class UrlRequest(_Closed):
    """An image by its address."""

    url: str
    age: Age | None = None


class HeatMap(_Closed):
    """Where a score came from, drawn over the image."""

    media_type: Literal["image/png"]
    base64: str


class PredictionAnswer(_Closed):
    """The answer about one image; the heat map only where it was asked for."""

    label: Label
    probability: Probability
    classes: dict[Label, Probability]
    logit: float
    threshold: Probability
    age_used: bool
    model_version: str
    warnings: list[str]
    notice: str
    heat_map: HeatMap | None = None


class ImageRefusal(_Closed):
    """Why there is no answer about an image of a study."""

    code: str
    message: str


class StudyImageAnswer(_Closed):
    """An image of a study: answered, or refused with ``error``."""

    file: str
    patient: str | None
    laterality: Literal["L", "R"] | None
    view: str | None
    label: Label | None = None
    probability: Probability | None = None
    threshold: Probability | None = None
    logit: float | None = None
    warnings: list[str] | None = None
    error: ImageRefusal | None = None


class PatientAnswer(_Closed):
    """The answer about a patient, and the standard views of which no image was judged."""

    patient: str
    label: Label
    probability: Probability
    threshold: Probability
    logit: float
    pictures: Annotated[int, Field(gt=0)]
    missing_views: list[str]


class BreastAnswer(PatientAnswer):
    """The answer about a breast."""

    laterality: Literal["L", "R"] | None


class StudyAnswer(_Closed):
    """The answer about a study."""

    images: list[StudyImageAnswer]
    breasts: list[BreastAnswer]
    patients: list[PatientAnswer]
    model_version: str
    notice: str


class ModelAnswer(BaseModel):
    """The model's card, as far as it is published."""

    version: str
    sha256: str
    input_size: Annotated[list[int], Field(min_length=2, max_length=2)]
    classes: list[str]
    operating_point: str
    notice: str


class StatusAnswer(_Closed):
    """How the service is."""

    status: str
    model_version: str | None = None


class Problem(BaseModel):
    """A refusal (RFC 9457): ``code`` is for programs and stable, ``detail`` for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None


class InferenceAnswer(BaseModel):
    """An answer of the inference protocol."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[dict[str, Any]]
