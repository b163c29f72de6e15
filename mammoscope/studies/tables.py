"""A study as JSON and as the rows of one table."""

from typing import Any, Final

from mammoscope.model.prediction import RESEARCH_USE_NOTICE, Prediction
from mammoscope.studies.grouping import BreastResult, JudgedImage, PatientResult, Study

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
    "pictures",
    "missing_views",
    "error",
    "warnings",
)
"""Columns of `to_rows`: ``level`` is image, breast or patient; lists are joined by semicolons."""


def to_json(study: Study) -> dict[str, Any]:
    """JSON object with images, breasts and patients."""
    return {
        "images": [_image(each) for each in study.images],
        "breasts": [
            {"patient": each.patient, "laterality": each.laterality, **_result(each)}
            for each in study.breasts
        ],
        "patients": [{"patient": each.patient, **_result(each)} for each in study.patients],
        "model_version": study.model_version,
        "notice": RESEARCH_USE_NOTICE,
    }


def to_rows(study: Study) -> list[dict[str, Any]]:
    """One row for each image, breast and patient; keys are of `COLUMNS`, empty where absent."""
    whole = to_json(study)
    rows = []
    for level, entries in (
        ("image", whole["images"]),
        ("breast", whole["breasts"]),
        ("patient", whole["patients"]),
    ):
        for entry in entries:
            values = {"level": level, **entry}
            if error := entry.get("error"):
                values["error"] = error["code"]
            for key in ("missing_views", "warnings"):
                values[key] = "; ".join(entry.get(key, ()))
            row = {key: values.get(key) for key in COLUMNS}
            rows.append({key: "" if value is None else value for key, value in row.items()})
    return rows


def _image(image: JudgedImage) -> dict[str, Any]:
    facts = {
        "file": image.name,
        "patient": image.patient,
        "laterality": image.laterality,
        "view": image.view,
    }
    outcome = image.outcome
    if isinstance(outcome, Prediction):
        answer = outcome.to_json()
        return facts | {
            key: answer[key] for key in ("label", "probability", "threshold", "logit", "warnings")
        }
    return facts | {"error": {"code": outcome.code, "message": str(outcome)}}


def _result(result: BreastResult | PatientResult) -> dict[str, Any]:
    return {
        "label": result.label,
        "probability": result.probability,
        "threshold": result.threshold,
        "logit": result.logit,
        "pictures": result.images,
        "missing_views": list(result.missing),
    }
