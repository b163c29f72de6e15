"""What the page shows: display images of uploads, and phantoms for visitors without images."""

import gzip
from functools import lru_cache
from typing import Final

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from mammoscope.imaging.display_image import DisplayImage
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom
from mammoscope.service.predicting import Predictor
from mammoscope.service.request_parsing import DICOM_TYPE, flag, submission
from mammoscope.studies.grouping import STANDARD_VIEWS

LONGEST_SIDE: Final = 2048
"""Pixels of the longer side of a display image that is not asked for in full: more than screens
have for one of four views."""

DISPLAY_TYPE: Final = "application/octet-stream"

_COMPRESSION: Final = 1
"""zlib's fastest level: noise in the lower bits leaves nothing for others to find."""

_PHANTOMS: Final = 8
"""Phantoms that are kept: two women."""

WOMEN: Final = 2
"""Women that phantoms are drawn of."""

_MASS: Final = (Laterality.LEFT, 1)
"""Breast of the second woman that has a mass."""


def blueprint(predictor: Predictor) -> Blueprint:
    """Return the routes of display images and phantoms."""
    routes = Blueprint("display", __name__)

    @routes.post("/display")
    def display() -> Response:
        longest = None if flag(request, "full") else LONGEST_SIDE
        with predictor.slot() as slot:
            with slot.uploading():
                submitted = submission(request, predictor.settings, slot.hold)
            with predictor.running(slot):
                shown = predictor.read_display(submitted.image, slot, longest)
                slot.hold(shown.pixels.nbytes)
                return _answer(shown)

    @routes.get("/phantoms/<int:woman>/<laterality>-<view>.dcm")
    def phantom(woman: int, laterality: str, view: str) -> Response:
        try:
            breast, projection = Laterality(laterality), View(view)
        except ValueError:
            raise NotFound from None
        if woman >= WOMEN or projection not in STANDARD_VIEWS:
            raise NotFound
        return Response(_phantom(woman, breast, projection), content_type=DICOM_TYPE)

    return routes


@lru_cache(_PHANTOMS)
def _phantom(woman: int, laterality: Laterality, view: View) -> bytes:
    from mammoscope.phantoms.dicom.objects import encode_phantom  # brings pydicom

    mass = (laterality, woman) == _MASS
    return encode_phantom(draw_phantom(PhantomConfig(woman, laterality, view, mass=mass)))


def _answer(shown: DisplayImage) -> Response:
    """Little-endian uint16, row by row; headers describe the values."""
    height, width = shown.pixels.shape
    rows, columns = shown.source_size
    lies = shown.geometry
    headers = {
        "Image-Rows": height,
        "Image-Columns": width,
        "Image-Source-Rows": rows,
        "Image-Source-Columns": columns,
        "Image-Window-Center": f"{shown.window[0]:.1f}",
        "Image-Window-Width": f"{shown.window[1]:.1f}",
        "Image-Laterality": lies.laterality,
        "Image-View": lies.view,
        "Image-Orientation": ",".join(lies.orientation) if lies.orientation else None,
    }
    if lies.spacing is not None:
        spacing = lies.spacing
        headers |= {
            "Image-Row-Spacing": f"{spacing.row_mm * rows / height:.6g}",
            "Image-Column-Spacing": f"{spacing.column_mm * columns / width:.6g}",
            "Image-Spacing-Origin": spacing.origin,
        }
    body = shown.pixels.astype("<u2", copy=False).tobytes()
    answer = Response(content_type=DISPLAY_TYPE)
    answer.vary.add("Accept-Encoding")
    if request.accept_encodings["gzip"]:
        body = gzip.compress(body, _COMPRESSION, mtime=0)
        answer.content_encoding = "gzip"
    answer.set_data(body)
    answer.headers.extend({k: str(v) for k, v in headers.items() if v is not None})
    return answer
