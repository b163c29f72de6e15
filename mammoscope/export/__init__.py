"""A .keras compiled for serving, kept only where it scores like the .keras itself."""

from mammoscope.export.comparison import (
    ALLOWED_AUC_DIFFERENCE,
    ALLOWED_DIFFERENCE,
    Reference,
    loss,
)
from mammoscope.export.comparison_images import (
    CALIBRATION_IMAGES,
    PreprocessedImages,
    draw_images,
    read_images,
)
from mammoscope.export.compiling import compile_artifact
from mammoscope.export.ladder import Kind, Trial

__all__ = [
    "ALLOWED_AUC_DIFFERENCE",
    "ALLOWED_DIFFERENCE",
    "CALIBRATION_IMAGES",
    "Kind",
    "PreprocessedImages",
    "Reference",
    "Trial",
    "compile_artifact",
    "draw_images",
    "loss",
    "read_images",
]
