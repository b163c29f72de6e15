"""Display images: all the depth, the window beside it, and how the image lies to the patient."""

import io

import numpy as np
import pytest
from PIL import Image

from mammoscope.errors import EmptyImageError, ImageTooLargeError, UnsupportedImageError
from mammoscope.imaging.display_image import DisplayImage, DisplayOptions, make_display_image
from mammoscope.imaging.display_values import LEAST, MOST, PADDING, WHOLE_WINDOW
from mammoscope.imaging.geometry import Spacing
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.imaging.reading import read
from mammoscope.phantoms.dicom import Encoding
from mammoscope.settings.service import ReadingLimits
from tests.dicom_objects import changed, mammogram_object


def shown(data: bytes, longest_side: int | None = None) -> DisplayImage:
    return make_display_image(data, DisplayOptions(longest_side))


def windowed(image: DisplayImage) -> np.ndarray:
    """What a viewer draws at the image's own window, in [0, 1]."""
    centre, width = image.window
    values = (image.pixels.astype(np.float64) - (centre - width / 2)) / width
    return np.where(image.pixels == PADDING, 0.0, np.clip(values, 0.0, 1.0))


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("window", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
@pytest.mark.parametrize("inverted", [False, True])
def test_its_window_shows_what_the_network_reads(window: str | None, inverted: bool) -> None:
    data = mammogram_object(Encoding(window=window, inverted=inverted))
    assert np.abs(windowed(shown(data)) - read(data).pixels).max() < 2e-3


def test_a_narrow_window_loses_no_values() -> None:
    data = changed(mammogram_object(), WindowCenter=1000, WindowWidth=200)
    image = shown(data)
    assert len(np.unique(image.pixels)) > 1000
    assert image.window[1] < 0.1 * (MOST - LEAST)
    assert np.abs(windowed(image) - read(data).pixels).max() < 2e-2


def test_sixteen_bits_stay_sixteen_bits() -> None:
    ramp = np.arange(256 * 256, dtype=np.uint16).reshape(256, 256)
    image = shown(png(ramp))
    assert len(np.unique(image.pixels)) > 60_000
    assert image.pixels.min() == LEAST
    assert image.pixels.max() == MOST
    assert image.window == WHOLE_WINDOW


def test_padding_has_a_value_of_its_own() -> None:
    plain = mammogram_object()
    padded = changed(plain, PixelPaddingValue=0)
    assert (shown(plain).pixels != PADDING).all()
    stored_black = shown(plain).pixels == LEAST
    assert stored_black.any()
    assert np.array_equal(shown(padded).pixels == PADDING, stored_black)


@pytest.mark.parametrize("syntax", ["explicit", "jpeg-2000", "jpeg-lossless"])
def test_the_longer_side_is_at_most_what_was_asked(syntax: str) -> None:
    data = mammogram_object(Encoding(syntax=syntax), height=1600, width=1000)
    image = shown(data, 700)
    assert max(image.pixels.shape) <= 700
    assert image.pixels.shape[0] / image.pixels.shape[1] == pytest.approx(1.6, abs=0.01)
    assert image.source_size == (1600, 1000)
    assert shown(data).pixels.shape == (1600, 1000)
    assert shown(data, 4000).pixels.shape == (1600, 1000)


def test_geometry_of_a_hung_phantom() -> None:
    geometry = shown(
        mammogram_object(laterality=Laterality.LEFT, view=View.MEDIO_LATERAL_OBLIQUE)
    ).geometry
    assert (geometry.laterality, geometry.view) == ("L", "MLO")
    assert geometry.orientation == ("A", "FR")
    assert geometry.spacing == Spacing(0.2, 0.2, "detector")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"EstimatedRadiographicMagnificationFactor": "1.25"}, Spacing(0.16, 0.16, "corrected")),
        ({"EstimatedRadiographicMagnificationFactor": "0.1"}, Spacing(0.2, 0.2, "detector")),
        ({"ImagerPixelSpacing": [0.1, 0.05]}, Spacing(0.1, 0.05, "detector")),
        (
            {"ImagerPixelSpacing": None, "NominalScannedPixelSpacing": [0.05, 0.05]},
            Spacing(0.05, 0.05, "scanner"),
        ),
        ({"ImagerPixelSpacing": None, "PixelSpacing": [0.07, 0.07]}, Spacing(0.07, 0.07, "image")),
        ({"ImagerPixelSpacing": [0, 0]}, None),
        ({"ImagerPixelSpacing": None}, None),
    ],
)
def test_spacing_says_where_it_holds(tags: dict, expected: Spacing | None) -> None:
    assert shown(changed(mammogram_object(), **tags)).geometry.spacing == expected


@pytest.mark.parametrize("orientation", [None, ["A"], ["A", "X"], ["", ""], ["A", "R", "F"]])
def test_malformed_orientations_count_as_missing(orientation: list[str] | None) -> None:
    image = shown(changed(mammogram_object(), PatientOrientation=orientation))
    assert image.geometry.orientation is None


def test_refusals_are_those_of_reading() -> None:
    with pytest.raises(EmptyImageError):
        shown(b"")
    with pytest.raises(UnsupportedImageError):
        shown(b"no image")
    small = DisplayOptions(None, ReadingLimits(max_image_bytes=100))
    with pytest.raises(ImageTooLargeError):
        make_display_image(mammogram_object(), small)
