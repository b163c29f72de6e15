"""Networks that take a linear window and local contrast in addition to ranks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient

import mammoscope
from mammoscope.errors import ArtifactMismatchError
from mammoscope.imaging.network_input import make_network_input
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.preprocessor import MammogramPreprocessor
from mammoscope.imaging.reading import read_file
from mammoscope.model.artifact.folder import load_artifact
from mammoscope.model.engine import Engine, load_engine
from mammoscope.settings.service import ServiceSettings
from tests.fake_engine import app_with

SIZE = (96, 72)


@pytest.fixture(scope="module")
def engine(three_channels_folder: Path) -> Engine:
    return load_engine(three_channels_folder)


@pytest.fixture(scope="module")
def image(phantom_folder: Path) -> Path:
    return min(phantom_folder.iterdir())


def test_an_image_is_predicted_from_all_channels(engine: Engine, image: Path) -> None:
    mammogram = read_file(image)
    pixels = preprocess(mammogram, SIZE, channels="three").pixels
    assert pixels.shape == (*SIZE, 3)
    expected = engine.infer(pixels[None])
    assert engine.predict(mammogram).logit == pytest.approx(float(expected.logits[0]))
    for channel in range(3):
        changed = pixels.copy()
        changed[..., channel] = 255 - changed[..., channel]
        assert engine.infer(changed[None]).logits[0] != pytest.approx(expected.logits[0])


def test_a_service_gives_the_score_of_the_python_api(
    engine: Engine, three_channels_folder: Path, image: Path
) -> None:
    prediction = mammoscope.load(three_channels_folder).predict(image)
    assert prediction.heat_map().shape[:2] == read_file(image).pixels.shape
    client = app_with(ServiceSettings(), engine).test_client()
    assert shape_of_pixels(client) == [-1, *SIZE, 3]
    pixels = preprocess(read_file(image), SIZE, channels="three").pixels
    assert infer(client, pixels[None]) == pytest.approx([prediction.logit], abs=1e-4)


def test_pixels_of_one_channel_are_refused(engine: Engine) -> None:
    client = app_with(ServiceSettings(), engine).test_client()
    answer = client.post("/v2/models/mammoscope/infer", json=request_for(np.zeros((1, *SIZE))))
    assert answer.status_code == 400
    assert "UINT8 [N, 96, 72, 3]" in answer.json["detail"]


def shape_of_pixels(client: FlaskClient) -> list[int]:
    inputs = client.get("/v2/models/mammoscope").json["inputs"]
    (shape,) = (each["shape"] for each in inputs if each["name"] == "pixels")
    return list(shape)


def infer(client: FlaskClient, pixels: np.ndarray) -> list[float]:
    answer = client.post("/v2/models/mammoscope/infer", json=request_for(pixels))
    (logits,) = (each["data"] for each in answer.json["outputs"] if each["name"] == "logit")
    return list(logits)


def request_for(pixels: np.ndarray) -> dict[str, object]:
    values = pixels.astype(int).ravel().tolist()
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape), "data": values}
    return {"inputs": [tensor]}


def test_keras_and_the_reader_get_the_same_pixels(engine: Engine, image: Path) -> None:
    read = make_network_input(image.read_bytes(), engine.card.reading_options())
    expected = preprocess(read_file(image), SIZE, channels="three").pixels
    assert np.array_equal(read.preprocessed.pixels, expected)
    assert np.array_equal(read.preprocessed.ranks, preprocess(read_file(image), SIZE).pixels)
    preprocessor = MammogramPreprocessor(SIZE, "three")
    assert np.array_equal(preprocessor.from_path(image)[0], expected)


def test_a_network_without_a_card_is_recognised(three_channels_folder: Path) -> None:
    bare = load_engine(three_channels_folder / "model.keras")
    assert bare.card.channels == "three"


def test_a_card_with_other_channels_is_refused(three_channels_folder: Path) -> None:
    artifact = load_artifact(three_channels_folder)
    other = artifact.require_card().model_copy(update={"channels": "ranks"})
    with pytest.raises(ArtifactMismatchError, match="channels"):
        load_engine(replace(artifact, card=other))
