"""The routes: what each path answers."""

from typing import Any, Final

from flask import Blueprint, render_template, request

from mammoscope import reading
from mammoscope.prediction import CLASS_NAMES, RESEARCH_USE_NOTICE
from mammoscope.service.loading import ScoringEngine
from mammoscope.service.submission import FILE_FIELD, submitted_picture
from mammoscope.settings import ServiceSettings

_PUBLISHED_FACTS: Final = {
    "version",
    "input_size",
    "calibration",
    "operating_points",
    "metrics",
    "sha256",
}
"""What of the card is answered; how and where it was trained may name folders."""


def blueprint(settings: ServiceSettings, engine: ScoringEngine) -> Blueprint:
    """Return the routes, answering with `engine` under `settings`."""
    routes = Blueprint("service", __name__)

    @routes.get("/")
    def page() -> str:
        return render_template(
            "page.html",
            notice=RESEARCH_USE_NOTICE,
            file_field=FILE_FIELD,
            suffixes=",".join(reading.PICTURE_SUFFIXES),
            url_fetching=settings.url_fetching,
        )

    @routes.get("/healthz")
    def healthz() -> dict[str, Any]:
        return {"status": "ok"}

    @routes.get("/readyz")
    def readyz() -> dict[str, Any]:
        return {"status": "ready", "model_version": engine.card.version}

    @routes.get("/model")
    def model() -> dict[str, Any]:
        facts = engine.card.model_dump(mode="json", include=_PUBLISHED_FACTS)
        return {
            **facts,
            "classes": list(CLASS_NAMES),
            "operating_point": settings.operating_point,
            "notice": RESEARCH_USE_NOTICE,
        }

    @routes.post("/predict")
    def predict() -> dict[str, Any]:
        data = submitted_picture(request, settings)
        mammogram = reading.read(data, settings, needed=engine.card.input_size)
        answer = engine.predict(mammogram, operating_point=settings.operating_point)
        return answer.to_json()

    return routes
