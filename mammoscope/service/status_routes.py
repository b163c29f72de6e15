"""The routes about the service itself: the probes and the model."""

from typing import Any, Final

from flask import Blueprint, g

from mammoscope.model.engine import Engine
from mammoscope.model.prediction import CLASS_NAMES, RESEARCH_USE_NOTICE
from mammoscope.service.readiness import Readiness
from mammoscope.settings.service import ServiceSettings

_PUBLISHED_FACTS: Final[dict[str, bool | set[str]]] = {
    "version": True,
    "about": {"name", "statements"},
    "input_size": True,
    "calibration": True,
    "age_calibration": True,
    "operating_points": True,
    "levels": True,
    "metrics": True,
    "sha256": True,
    "compiled": True,
}
"""Fields of the card that are public; facts about the training may name folders."""


def blueprint(settings: ServiceSettings, engine: Engine, readiness: Readiness) -> Blueprint:
    """Return the routes about `engine` under `settings`."""
    routes = Blueprint("service", __name__)

    @routes.get("/healthz")
    def healthz() -> dict[str, Any]:
        return {"status": "ok"}

    @routes.get("/readyz")
    def readyz() -> dict[str, Any]:
        readiness.require()
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
