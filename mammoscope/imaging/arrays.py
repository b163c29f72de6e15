"""Array types: the type gives the dtype, the docstring shape and range."""

from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""Preprocessed images: uint8 (N, H, W) or (H, W) in [0, 255], at the network's input size. With
three channels, they have one more axis."""

Grey = npt.NDArray[np.float32]
"""Grey values of an image: float32 (H, W) in [0, 1]; 0 is black."""

Colours = npt.NDArray[np.uint8]
"""A colour image: uint8 (H, W, 3) in [0, 255]; red, green, blue."""

Mask = npt.NDArray[np.bool_]
"""A mask of pixels: bool (H, W)."""

Float = npt.NDArray[np.float32]
"""Network outputs and features, float32: logits (N,), logit maps (h, w) or (N, h, w); unbounded."""

FloatArray = npt.NDArray[np.float64]
"""Numbers for computation: float64, any shape and range."""

IntArray = npt.NDArray[np.int64]
"""Labels, indices and counts: int64, any shape and range."""

Words = npt.NDArray[Any]
"""Samples as stored in a file: integers (H, W) of the file's type and range."""

Boxes = npt.NDArray[np.float32]
"""Outlined lesions, float32 (n, 5): kind (0 malignant, 1 benign), then x0, y0, x1, y1 as fractions
of an image's width and height."""
