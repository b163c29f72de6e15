"""A keras_image_helper preprocessor, for programs that call the .keras file directly.

It replaces the library's decoder, which saturates 16-bit grey, and its downloader, which opens any
URL, including ``file://``.
"""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from keras_image_helper.base import BasePreprocessor
from PIL import Image

from mammoscope.errors import UrlNotAllowedError
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.reading import read, read_file, read_image
from mammoscope.settings.channels import ChannelsName


class MammogramPreprocessor(BasePreprocessor):  # type: ignore[misc]  # the base has no types
    """Turns images into network inputs, as training and service do.

    They are uint8 (1, H, W, 1) or (1, H, W, 3).

    Parameters
    ----------
    target_size
        Height and width of the network's input in pixels.
    channels
        As in `mammoscope.imaging.preprocessing.preprocess`; the model's card has both.
    """

    def __init__(self, target_size: tuple[int, int], channels: ChannelsName = "ranks") -> None:
        super().__init__(target_size)
        self.channels = channels

    def convert_to_tensor(self, img: Image.Image) -> npt.NDArray[np.uint8]:
        """Preprocess an image that Pillow has opened; raises `ImageError`."""
        return self.preprocess(read_image(img))

    def from_bytes(self, data: bytes) -> npt.NDArray[np.uint8]:
        """Preprocess an encoded image; raises `ImageError`."""
        return self.preprocess(read(data, needed=self.target_size))

    def from_path(self, path: str | PathLike[str]) -> npt.NDArray[np.uint8]:
        """Preprocess a file; raises `ImageError`."""
        return self.preprocess(read_file(Path(path), needed=self.target_size))

    def from_url(self, url: str) -> npt.NDArray[np.uint8]:
        """Refuse to fetch an image; only the service does, with its URL checks.

        Raises
        ------
        UrlNotAllowedError
            Always.
        """
        del url
        raise UrlNotAllowedError("Only the service fetches images from URLs.")

    def preprocess(self, X: Any) -> npt.NDArray[np.uint8]:  # noqa: N803 - the base's name
        """Preprocess a `Mammogram` and add batch and channel axes."""
        pixels = preprocess(X, self.target_size, channels=self.channels).pixels
        return pixels.reshape(1, *self.target_size, -1)
