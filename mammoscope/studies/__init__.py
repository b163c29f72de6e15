"""Images of a study to an answer for each breast and each patient."""

from mammoscope.studies.grouping import (
    BreastResult,
    JudgedImage,
    PatientResult,
    Study,
    judge_image,
    summarise,
)
from mammoscope.studies.manifest import Placement, find_study
from mammoscope.studies.tables import COLUMNS, to_json, to_rows

__all__ = [
    "COLUMNS",
    "BreastResult",
    "JudgedImage",
    "PatientResult",
    "Placement",
    "Study",
    "find_study",
    "judge_image",
    "summarise",
    "to_json",
    "to_rows",
]
