"""Aggregate the images of a study into results for each breast and each patient."""

from mammoscope.studies.grouping import aggregate, predict_image, predicted_image
from mammoscope.studies.identity import PATIENT_WARNINGS
from mammoscope.studies.manifest import Placement, find_study
from mammoscope.studies.results import (
    COLUMNS,
    BreastResult,
    PatientResult,
    PredictedImage,
    Refusal,
    RefusedImage,
    StudyImage,
    StudyResult,
    to_rows,
)

__all__ = [
    "COLUMNS",
    "PATIENT_WARNINGS",
    "BreastResult",
    "PatientResult",
    "Placement",
    "PredictedImage",
    "Refusal",
    "RefusedImage",
    "StudyImage",
    "StudyResult",
    "aggregate",
    "find_study",
    "predict_image",
    "predicted_image",
    "to_rows",
]
