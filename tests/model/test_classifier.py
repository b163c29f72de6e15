"""The Python API: predictions and refusals of a model from `mammoscope.load`."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mammoscope
from mammoscope.errors import (
    ArtifactNotFoundError,
    ConfigurationError,
    CorruptImageError,
    ImageError,
    UnreadableFileError,
    UnsupportedImageError,
)
from mammoscope.imaging.heat_map import overlay
from mammoscope.imaging.network_input import display_of
from mammoscope.imaging.reading import read_file
from mammoscope.model.classifier import Classifier
from mammoscope.model.engine import load_engine
from mammoscope.model.prediction import Prediction


@pytest.fixture(scope="module")
def model(compiled_folder: Path) -> Classifier:
    return mammoscope.load(compiled_folder)


@pytest.fixture(scope="module")
def image(phantom_folder: Path) -> Path:
    return max(phantom_folder.glob("*.png"))


def test_path_bytes_and_arrays_give_the_same_result(model: Classifier, image: Path) -> None:
    answer = model.predict(image)
    assert isinstance(answer, Prediction)
    assert 0 <= answer.probability <= 1
    assert answer.label in ("tumour", "no tumour")
    assert answer.model_version == model.card.version == "tiny-1"
    pixels = np.asarray(Image.open(image))
    assert pixels.dtype in (np.uint8, np.uint16)
    largest = np.iinfo(pixels.dtype).max
    for same in (str(image), image.read_bytes(), pixels, (pixels / largest).astype(np.float32)):
        assert model.predict(same).to_json() == answer.to_json()


def test_predictions_equal_those_of_the_engine(
    model: Classifier, image: Path, compiled_folder: Path
) -> None:
    mammogram = read_file(image)
    expected = load_engine(compiled_folder).predict(mammogram)
    answer = model.predict(image)
    assert answer.to_json() == expected.to_json()
    drawn = overlay(display_of(mammogram), expected.logit_map, expected.preprocessed)
    heat_map = answer.heat_map()
    assert heat_map.dtype == np.uint8
    assert heat_map.shape == (*mammogram.pixels.shape, 3)
    np.testing.assert_array_equal(heat_map, drawn)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ("nothing.png", UnreadableFileError, "does not exist"),
        (b"not an image", UnsupportedImageError, "are not a JPEG"),
        (np.zeros((300, 300), np.int64), UnsupportedImageError, r"int64 and shape \(300, 300\)"),
        (np.zeros((300, 300, 3), np.uint8), UnsupportedImageError, r"\(300, 300, 3\)"),
        (np.zeros((300, 300), bool), UnsupportedImageError, "bool"),
        (np.full((300, 300), 1.5), CorruptImageError, "between 0 and 1"),
        (np.full((300, 300), np.nan), CorruptImageError, "between 0 and 1"),
        (np.zeros((0, 0)), CorruptImageError, "no two-dimensional"),
        (np.zeros((300, 300), np.uint8), ImageError, "blank"),
    ],
)
def test_other_images_are_refused(model: Classifier, wrong, error, message) -> None:
    with pytest.raises(error, match=message):
        model.predict(wrong)


def test_an_unknown_operating_point_is_refused(model: Classifier, image: Path) -> None:
    with pytest.raises(ConfigurationError, match="it has default"):
        model.predict(image, operating_point="best")


def test_the_setting_selects_the_model(
    compiled_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MAMMOSCOPE_MODEL", str(compiled_folder))
    assert mammoscope.load().card.version == "tiny-1"
    with pytest.raises(ArtifactNotFoundError):
        mammoscope.load(tmp_path)


def test_the_array_is_not_changed(model: Classifier, image: Path) -> None:
    pixels = np.asarray(Image.open(image)).astype(np.float32)
    pixels /= pixels.max()
    before = pixels.copy()
    model.predict(pixels)
    np.testing.assert_array_equal(pixels, before)
    assert pixels.flags.writeable
