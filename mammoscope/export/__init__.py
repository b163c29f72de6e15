"""A .keras compiled for serving, kept only where it scores like the .keras itself."""

from mammoscope.export.comparison import (
    ALLOWED_AUC_DIFFERENCE,
    ALLOWED_DIFFERENCE,
    Reference,
    loss,
)
from mammoscope.export.compiling import compile_artifact
from mammoscope.export.ladder import Kind, Trial
from mammoscope.export.pictures import (
    CALIBRATION_PICTURES,
    PreparedPictures,
    draw_pictures,
    read_pictures,
)

__all__ = [
    "ALLOWED_AUC_DIFFERENCE",
    "ALLOWED_DIFFERENCE",
    "CALIBRATION_PICTURES",
    "Kind",
    "PreparedPictures",
    "Reference",
    "Trial",
    "compile_artifact",
    "draw_pictures",
    "loss",
    "read_pictures",
]
