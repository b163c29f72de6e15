"""The result for a study: its images, breasts and patients, as in the API."""

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, computed_field

from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.model.prediction import RESEARCH_USE_NOTICE, Answer, Decision


class Refusal(Answer):
    """The reason for a refusal: a stable code and a message."""

    code: str
    message: str


class RefusedImage(Answer):
    """An image of a study that was refused.

    Parameters
    ----------
    file
        Name of the image from the caller.
    patient
        Pseudonym, or the caller's identifier; None if unknown.
    laterality, view
        From the caller, else from the image; None if unknown.
    error
        The reason.
    study
        Pseudonym of the study, if the image itself names the patient; not serialised.
    """

    file: str
    patient: str | None
    laterality: Laterality | None
    view: View | None
    error: Refusal
    study: str | None = Field(default=None, exclude=True, repr=False)


class PredictedImage(Decision):
    """A predicted image of a study.

    Parameters
    ----------
    file, patient, laterality, view, study
        As in `RefusedImage`.
    warnings
        What a reader should know about this image or prediction.
    chest_wall
        Side of the image with the chest wall; not serialised. It groups the views of a breast of
        unknown laterality.
    """

    FIRST = ("file", "patient", "laterality", "view", "label")

    file: str
    patient: str | None
    laterality: Laterality | None
    view: View | None
    warnings: tuple[str, ...]
    chest_wall: Literal["left", "right"] = Field(exclude=True, repr=False)
    study: str | None = Field(default=None, exclude=True, repr=False)


StudyImage = PredictedImage | RefusedImage


class PatientResult(Decision):
    """The result for a patient.

    Parameters
    ----------
    patient
        Pseudonym, or the caller's identifier.
    images
        Number of predicted images.
    missing_views
        Standard views without a predicted image, like ``R MLO``, of both breasts.
    files
        Names of the predicted images; not serialised.
    """

    FIRST: ClassVar[tuple[str, ...]] = ("patient", "label")

    patient: str
    images: Annotated[int, Field(gt=0)]
    missing_views: tuple[str, ...]
    files: tuple[str, ...] = Field(default=(), exclude=True, repr=False)

    @computed_field(json_schema_extra={"deprecated": True})  # type: ignore[prop-decorator]
    @property
    def pictures(self) -> int:
        """Deprecated name of ``images``, removed in the next version."""
        return self.images


class BreastResult(PatientResult):
    """The result for a breast.

    ``missing_views`` are the standard views without a predicted image, like ``MLO``.

    Parameters
    ----------
    laterality
        None if unknown.
    """

    FIRST = ("patient", "laterality", "label")

    laterality: Laterality | None


class StudyResult(Answer):
    """The result for a study; breasts and patients are in the order of their first images."""

    images: tuple[StudyImage, ...]
    breasts: tuple[BreastResult, ...]
    patients: tuple[PatientResult, ...]
    model_version: str

    @computed_field  # type: ignore[prop-decorator]
    @property
    def notice(self) -> str:
        """Research-use notice."""
        return RESEARCH_USE_NOTICE

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object used by the service, the command line and the tables."""
        content = super().to_json()
        parts = {"images": self.images, "breasts": self.breasts, "patients": self.patients}
        return content | {name: [each.to_json() for each in part] for name, part in parts.items()}


COLUMNS: Final = (
    "level",
    "patient",
    "laterality",
    "view",
    "file",
    "label",
    "probability",
    "threshold",
    "logit",
    "images",
    "pictures",
    "missing_views",
    "error",
    "warnings",
)
"""Columns of `to_rows`: ``level`` is image, breast or patient; the others are keys of the results.
A test compares the lists. ``pictures`` is the deprecated name of ``images``."""


def to_rows(study: StudyResult) -> list[dict[str, Any]]:
    """Return one row per image, breast and patient.

    Keys are `COLUMNS`. Missing values are empty, lists are joined by semicolons, and an error is
    its code.
    """
    content = study.to_json()
    rows = []
    for level in ("image", "breast", "patient"):
        for entry in content[f"{level}s"]:
            values = {"level": level, **entry}
            if error := entry.get("error"):
                values["error"] = error["code"]
            for key in ("missing_views", "warnings"):
                values[key] = "; ".join(entry.get(key, ()))
            row = {key: values.get(key) for key in COLUMNS}
            rows.append({key: "" if value is None else value for key, value in row.items()})
    return rows
