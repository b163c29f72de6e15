"""The page: one shell for all its views; scripts and styles are static files."""

from pathlib import Path
from typing import Any, Final

from flask import Blueprint, render_template, request

from mammoscope.imaging.image_files import IMAGE_SUFFIXES
from mammoscope.imaging.mammogram import View
from mammoscope.model.prediction import AGES_YEARS, RESEARCH_USE_NOTICE
from mammoscope.settings.service import ServiceSettings

_STATIC: Final = Path(__file__).with_name("static")
_LATER: Final = {"docs.js"}
"""Scripts of the API's documentation."""

_PHANTOM: Final = 1
"""The drawn woman that the page shows: she has a mass."""


def blueprint(settings: ServiceSettings) -> Blueprint:
    """Return the routes of the page under `settings`."""
    routes = Blueprint("page", __name__)
    modules = ["vendor/htm-preact.js"] + [
        f"page/{file.name}"
        for file in sorted((_STATIC / "page").glob("*.js"))
        if file.name not in _LATER
    ]

    def shell() -> str:
        return render_template("page.html", config=_told(settings), modules=modules)

    @routes.get("/")
    def page() -> str:
        return shell()

    @routes.get("/model/card")
    def card() -> str:
        return shell()

    return routes


def _told(settings: ServiceSettings) -> dict[str, Any]:
    """What the scripts need to know."""
    return {
        "base": request.script_root,
        "notice": RESEARCH_USE_NOTICE,
        "ages": AGES_YEARS,
        "suffixes": list(IMAGE_SUFFIXES),
        "views": [str(view) for view in View],
        "urlFetching": settings.url_fetching,
        "operatingPoint": settings.operating_point,
        "maxImageBytes": settings.max_image_bytes,
        "maxStudyImages": settings.max_study_images,
        "phantom": _PHANTOM,
    }
