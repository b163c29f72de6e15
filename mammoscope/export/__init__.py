"""The precision in which a model is served: bfloat16 only where its scores stay."""

from mammoscope.export.comparison import ALLOWED_AUC_DIFFERENCE, ALLOWED_DIFFERENCE, compare
from mammoscope.export.comparison_images import PreprocessedImages, read_images
from mammoscope.export.precision import choose_precision

__all__ = [
    "ALLOWED_AUC_DIFFERENCE",
    "ALLOWED_DIFFERENCE",
    "PreprocessedImages",
    "choose_precision",
    "compare",
    "read_images",
]
