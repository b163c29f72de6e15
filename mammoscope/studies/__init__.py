"""Pictures of an examination to an answer for each breast and each patient."""

from mammoscope.studies.grouping import (
    BreastResult,
    JudgedPicture,
    PatientResult,
    Study,
    judge_picture,
    summarise,
)
from mammoscope.studies.manifest import Placement, find_study
from mammoscope.studies.tables import COLUMNS, to_json, to_rows

__all__ = [
    "COLUMNS",
    "BreastResult",
    "JudgedPicture",
    "PatientResult",
    "Placement",
    "Study",
    "find_study",
    "judge_picture",
    "summarise",
    "to_json",
    "to_rows",
]
