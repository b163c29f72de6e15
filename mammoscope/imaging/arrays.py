"""Types of arrays, named once: dtype in the type, shape and range in these docstrings."""

from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""Preprocessed images: uint8 (N, H, W) or (H, W), 0 to 255, of the network's input size."""

Grey = npt.NDArray[np.float32]
"""Grey values of an image: float32 (H, W) in [0, 1], 0 is black."""

Colours = npt.NDArray[np.uint8]
"""An image in colour: uint8 (H, W, 3), red, green, blue, 0 to 255."""

Mask = npt.NDArray[np.bool_]
"""Which pixels belong to something: bool (H, W)."""

Float = npt.NDArray[np.float32]
"""Network outputs and features, float32: logits (N,), logit maps (h, w) or (N, h, w); unbounded."""

FloatArray = npt.NDArray[np.float64]
"""Numbers to compute with: float64; shape and range are the user's."""

IntArray = npt.NDArray[np.int64]
"""Labels, indices and counts: int64; shape and range are the user's."""

Words = npt.NDArray[Any]
"""Samples as a file stores them: integers (H, W) of the file's own type and range."""

Boxes = npt.NDArray[np.float32]
"""Outlined lesions, float32 (n, 5): kind (0 malignant, 1 benign), then x0, y0, x1, y1 as fractions
of an image's width and height."""
