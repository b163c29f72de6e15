"""One picture in every container and syntax has one score."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from mammoscope.artifact import load_artifact
from mammoscope.dicom_phantom import SYNTAXES, Encoding, encode_picture
from mammoscope.engine import Engine, load_engine
from mammoscope.mammogram import Laterality
from mammoscope.phantom import PhantomConfig, draw_phantom
from mammoscope.preparation import prepare
from mammoscope.reading import read, read_file
from tests.conftest import MODEL
from tests.dicom_objects import changed

LOSSLESS_TOLERANCE = 0.005
LOSSY_TOLERANCE = 0.02
REDUCED_TOLERANCE = 0.01
WAVELET_TOLERANCE = 0.02
"""Wavelets average noise otherwise than area does, and a network may see it."""


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load_engine(load_artifact(MODEL))


def probability(engine: Engine, data: bytes, needed: tuple[int, int] | None = None) -> float:
    return engine.predict(read(data, needed=needed)).probability


def picture(pixels: np.ndarray, kind: str, depth: type, **options) -> bytes:
    stream = io.BytesIO()
    stored = np.rint(pixels * np.iinfo(depth).max).astype(depth)
    Image.fromarray(stored).save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def originals(real_dataset) -> dict[str, np.ndarray]:
    """A phantom, and a picture of the training folder: float32 (H, W)."""
    phantom = draw_phantom(PhantomConfig(seed=7, mass=True, label_text=True)).pixels
    real = read_file(min((real_dataset / "train" / "1").glob("*.jpg"))).pixels
    return {"phantom": phantom, "data set": real}


@pytest.mark.parametrize("which", ["phantom", "data set"])
def test_every_container_and_syntax_scores_alike(engine, originals, which):
    pixels = originals[which]
    config = PhantomConfig(seed=7)
    reference = probability(engine, picture(pixels, "PNG", np.uint16))
    lossless = {"PNG 8": picture(pixels, "PNG", np.uint8)}
    lossy = {"JPEG": picture(pixels, "JPEG", np.uint8, quality=95)}
    for name, syntax in SYNTAXES.items():
        bits = 12 if 12 in syntax.bits else syntax.bits[-1]
        encodings = [Encoding(name, bits), Encoding(name, bits, inverted=True)]
        if not syntax.lossy:
            encodings += [
                Encoding(name, bits, window=None),
                Encoding(name, bits, window=None, inverted=True),
                Encoding(name, bits, signed=True, window="LINEAR_EXACT"),
                Encoding(name, bits, window="LINEAR_EXACT", inverted=True),
                Encoding(name, bits, window="SIGMOID"),
                Encoding(name, bits, window="SIGMOID", inverted=True),
            ]
        group = lossy if syntax.lossy else lossless
        # Slow ones in one sense only: what they decode is the same array.
        for encoding in encodings if name in ("explicit", "jpeg-2000", "jpeg") else encodings[:2]:
            group[str(encoding)] = encode_picture(pixels, config, encoding)
    for group, tolerance in ((lossless, LOSSLESS_TOLERANCE), (lossy, LOSSY_TOLERANCE)):
        differences = {
            name: abs(probability(engine, data) - reference) for name, data in group.items()
        }
        assert max(differences.values()) <= tolerance, differences


LARGE = PhantomConfig(seed=3, mass=True, height=2900, width=2300)


@pytest.fixture(scope="module")
def large() -> np.ndarray:
    return draw_phantom(LARGE).pixels


@pytest.fixture(scope="module")
def square(large) -> np.ndarray:
    """As the data set's pictures are stretched, at the detector's own resolution."""
    return cv2.resize(large, (2900, 2900), interpolation=cv2.INTER_LINEAR)


def test_stretching_to_a_square_changes_little(engine, large, square):
    """Whatever the container; stretching itself resamples noise, so that nothing is lossless.

    JPEG loses something besides: it is held against the stretched picture without that loss.
    """
    reference = probability(engine, picture(large, "PNG", np.uint16))
    stretched = {
        "PNG 8": picture(square, "PNG", np.uint8),
        "PNG 16": picture(square, "PNG", np.uint16),
        "DICOM": encode_picture(square, LARGE),
        "DICOM, MONOCHROME1": encode_picture(square, LARGE, Encoding(inverted=True)),
    }
    differences = {
        name: abs(probability(engine, data) - reference) for name, data in stretched.items()
    }
    lossy = probability(engine, picture(square, "JPEG", np.uint8, quality=95))
    lossless = probability(engine, stretched["PNG 16"])
    differences["JPEG"] = abs(lossy - lossless)
    assert max(differences.values()) <= LOSSY_TOLERANCE, differences


def spread(engine: Engine, data: bytes) -> tuple[float, float]:
    """Between full and reduced reading: mean of prepared pixels, and probability."""
    size = engine.card.input_size
    full, reduced = (prepare(read(data, needed=needed), size).pixels for needed in (None, size))
    first, second = engine.score(np.stack([full, reduced])).logits
    probabilities = [engine.card.calibration.probability(float(x)) for x in (first, second)]
    mean = np.abs(full.astype(int) - reduced).mean()
    return float(mean), abs(probabilities[0] - probabilities[1])


@pytest.mark.parametrize("name", ["explicit", "rle", "jpeg-lossless", "jpeg-ls", "jpeg"])
def test_reduced_reading_scores_like_full(engine, large, name):
    bits = 12 if 12 in SYNTAXES[name].bits else SYNTAXES[name].bits[-1]
    data = encode_picture(large, LARGE, Encoding(name, bits))
    assert read(data, needed=engine.card.input_size).pixels.shape == (1450, 1150)
    mean, difference = spread(engine, data)
    assert mean < 0.5
    assert difference <= REDUCED_TOLERANCE


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_reduced_reading_of_pictures_scores_like_full(engine, large, kind):
    mean, difference = spread(engine, picture(large, kind, np.uint8))
    assert mean < 0.5
    assert difference <= REDUCED_TOLERANCE


@pytest.mark.parametrize("name", ["jpeg-2000", "htj2k"])
def test_leaving_out_resolutions_scores_nearly_like_full(engine, large, name):
    bits = 12 if 12 in SYNTAXES[name].bits else SYNTAXES[name].bits[-1]
    data = encode_picture(large, LARGE, Encoding(name, bits))
    assert read(data, needed=engine.card.input_size).pixels.shape == (1450, 1150)
    mean, difference = spread(engine, data)
    assert mean < 2.0
    assert difference <= WAVELET_TOLERANCE


def test_text_outside_the_breast_does_not_move_the_score(engine):
    config = PhantomConfig(seed=7)  # the marker of side and view is there, as on every mammogram
    plain = draw_phantom(config).pixels
    lettered = plain.copy()
    layer = np.zeros(plain.shape, np.uint8)
    for line, text in enumerate(("DOE^JANE", "1957-03-11", "ID 4711", "R CC")):
        cv2.putText(layer, text, (620, 700 + 34 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2)
    np.maximum(lettered, layer.astype(np.float32) / 255, out=lettered)
    assert np.abs(lettered - plain).max() == 1.0
    pictures = [read(encode_picture(each, config)) for each in (plain, lettered)]
    prepared = [prepare(each, engine.card.input_size).pixels for each in pictures]
    scores = [engine.predict(each).probability for each in pictures]
    assert np.array_equal(*prepared)
    assert scores[0] == scores[1]


def test_a_mirrored_picture_is_reported(engine):
    config = PhantomConfig(seed=7, laterality=Laterality.LEFT)
    pixels = draw_phantom(config).pixels
    upright = engine.predict(read(encode_picture(pixels, config)))
    mirrored = encode_picture(np.ascontiguousarray(pixels[:, ::-1]), config)
    warned = engine.predict(read(mirrored))
    assert upright.warnings == ()
    assert any("mirrored" in warning for warning in warned.warnings)
    assert abs(upright.probability - warned.probability) < LOSSLESS_TOLERANCE
    # Said to be flipped without an orientation, it contradicts nothing.
    told = changed(mirrored, PatientOrientation=None, FieldOfViewHorizontalFlip="YES")
    assert engine.predict(read(told)).warnings == ()
