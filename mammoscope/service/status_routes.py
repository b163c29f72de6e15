"""The routes that tell of the service itself: the page, the probes and the model."""

from typing import Any, Final

from flask import Blueprint, g, render_template

from mammoscope.errors import NotReadyError
from mammoscope.imaging import reading
from mammoscope.model.prediction import AGES_YEARS, CLASS_NAMES, RESEARCH_USE_NOTICE
from mammoscope.service.engine_loading import ScoringEngine
from mammoscope.service.request_parsing import AGE_FIELD, FILE_FIELD
from mammoscope.service.request_queue import Admission
from mammoscope.settings import ServiceSettings

_PUBLISHED_FACTS: Final = {
    "version",
    "input_size",
    "calibration",
    "age_calibration",
    "operating_points",
    "levels",
    "metrics",
    "sha256",
    "compiled",
}
"""What of the card is answered; how and where it was trained may name folders."""


def blueprint(settings: ServiceSettings, engine: ScoringEngine, admission: Admission) -> Blueprint:
    """Return the routes, telling of `engine` and `admission` under `settings`."""
    routes = Blueprint("service", __name__)

    @routes.get("/")
    def page() -> str:
        return render_template(
            "page.html",
            notice=RESEARCH_USE_NOTICE,
            file_field=FILE_FIELD,
            age_field=AGE_FIELD,
            ages=AGES_YEARS,
            suffixes=",".join(reading.IMAGE_SUFFIXES),
            url_fetching=settings.url_fetching,
        )

    @routes.get("/healthz")
    def healthz() -> dict[str, Any]:
        return {"status": "ok"}

    @routes.get("/readyz")
    def readyz() -> dict[str, Any]:
        if admission.draining:
            raise NotReadyError("The service is about to stop.")
        answer = {"status": "ready", "model_version": engine.card.version}
        warnings = g.get("readiness_warnings")
        return {**answer, "warnings": warnings} if warnings else answer

    @routes.get("/model")
    def model() -> dict[str, Any]:
        facts = engine.card.model_dump(mode="json", include=_PUBLISHED_FACTS)
        return {
            **facts,
            "classes": list(CLASS_NAMES),
            "operating_point": settings.operating_point,
            "notice": RESEARCH_USE_NOTICE,
        }

    return routes
