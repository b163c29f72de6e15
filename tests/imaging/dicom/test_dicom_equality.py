"""An image has the same score in every container and syntax."""

import hashlib
import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.reading import read, read_file
from mammoscope.model.artifact.folder import load_artifact
from mammoscope.model.engine import Engine, Scores, load_engine
from mammoscope.phantoms.dicom import SYNTAXES, Encoding, encode_image
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom
from tests.conftest import MODEL
from tests.dicom_objects import changed

LOSSLESS_TOLERANCE = 0.005
LOSSY_TOLERANCE = 0.02
REDUCED_TOLERANCE = 0.01


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The released network in float32, on any CPU.

    Reading is what is held here. What computing in bfloat16 adds where a CPU does is held by
    `compile`, and told by the card. Equal network inputs are given to the network once.
    """
    loaded = load_engine(replace(load_artifact(MODEL), precision="float32"))
    infer, known = loaded.infer, {}

    def remembered(pixels: np.ndarray) -> Scores:
        key = (pixels.shape, hashlib.sha256(pixels).digest())
        if key not in known:
            known[key] = infer(pixels)
        return known[key]

    loaded.infer = remembered
    return loaded


def probability(engine: Engine, data: bytes, needed: tuple[int, int] | None = None) -> float:
    return engine.predict(read(data, needed=needed)).probability


def image(pixels: np.ndarray, kind: str, depth: type, **options) -> bytes:
    stream = io.BytesIO()
    stored = np.rint(pixels * np.iinfo(depth).max).astype(depth)
    Image.fromarray(stored).save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def originals(real_dataset) -> dict[str, np.ndarray]:
    """A phantom, and an image of the training folder: float32 (H, W)."""
    phantom = draw_phantom(PhantomConfig(seed=7, mass=True, label_text=True)).pixels
    real = read_file(min((real_dataset / "train" / "1").glob("*.jpg"))).pixels
    return {"phantom": phantom, "data set": real}


@pytest.mark.parametrize("which", ["phantom", "data set"])
def test_every_container_and_syntax_scores_alike(engine, originals, which):
    pixels = originals[which]
    config = PhantomConfig(seed=7)
    reference = probability(engine, image(pixels, "PNG", np.uint16))
    lossless = {"PNG 8": image(pixels, "PNG", np.uint8)}
    lossy = {"JPEG": image(pixels, "JPEG", np.uint8, quality=95)}
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
            group[str(encoding)] = encode_image(pixels, config, encoding)
    for group, tolerance in ((lossless, LOSSLESS_TOLERANCE), (lossy, LOSSY_TOLERANCE)):
        differences = {
            name: abs(probability(engine, data) - reference) for name, data in group.items()
        }
        assert max(differences.values()) <= tolerance, differences


LARGE = PhantomConfig(seed=3, mass=True, height=3328, width=2560)
"""Size of a common detector's images."""


@pytest.fixture(scope="module")
def large() -> np.ndarray:
    return draw_phantom(LARGE).pixels


@pytest.fixture(scope="module")
def enlarged(originals) -> np.ndarray:
    """The data set's image at the detector's size, with the noise that the export removed."""
    real = cv2.resize(originals["data set"], (2560, 3328), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).standard_normal(real.shape, np.float32)
    return np.clip(real + 0.01 * noise, 0, 1)


@pytest.mark.parametrize("resampling", [cv2.INTER_LINEAR, cv2.INTER_CUBIC])
def test_stretching_to_a_square_changes_nothing(engine, large, resampling):
    """As the data set's images are stretched, at the detector's resolution, and read as served.

    JPEG loses something besides: it is held against the stretched image without that loss.
    """
    size = engine.card.input_size
    square = np.clip(cv2.resize(large, (3328, 3328), interpolation=resampling), 0, 1)
    reference = probability(engine, encode_image(large, LARGE, Encoding(bits=16)), size)
    stretched = {
        str(encoding): encode_image(square, LARGE, encoding)
        for encoding in (Encoding(bits=16), Encoding(), Encoding(inverted=True))
    }
    if resampling == cv2.INTER_LINEAR:
        stretched["PNG 8"] = image(square, "PNG", np.uint8, compress_level=1)
        stretched["PNG 16"] = image(square, "PNG", np.uint16, compress_level=1)
    scores = {name: probability(engine, data, size) for name, data in stretched.items()}
    differences = {name: abs(score - reference) for name, score in scores.items()}
    assert max(differences.values()) <= LOSSLESS_TOLERANCE, differences
    lossy = probability(engine, image(square, "JPEG", np.uint8, quality=95), size)
    assert abs(lossy - scores[str(Encoding(bits=16))]) <= LOSSY_TOLERANCE


def spread(engine: Engine, data: bytes) -> tuple[float, float]:
    """Differences between full and reduced reading: mean of ranks, probability."""
    size, channels = engine.card.input_size, engine.card.channels
    full, reduced = (
        preprocess(read(data, needed=needed), size, channels=channels) for needed in (None, size)
    )
    first, second = engine.infer(np.stack([full.pixels, reduced.pixels])).logits
    probabilities = [engine.card.calibration.probability(float(x)) for x in (first, second)]
    mean = np.abs(full.ranks.astype(int) - reduced.ranks).mean()
    return float(mean), abs(probabilities[0] - probabilities[1])


MOST_MEAN = {
    "jpeg-2000": 3.0, "jpeg-2000-lossy": 3.0, "htj2k": 3.0, "htj2k-lossy": 3.0,
}  # fmt: skip
"""Mean difference of ranks, from 1 to 255, where wavelets leave out resolutions:
they average noise otherwise than area does. 0.5 elsewhere."""


@pytest.mark.parametrize("which", ["phantom", "data set"])
@pytest.mark.parametrize(
    "name",
    [
        "explicit", "rle", "jpeg-lossless", "jpeg-ls", "jpeg", "jpeg-2000", "jpeg-2000-lossy",
        "htj2k", "htj2k-lossy",
    ],
)  # fmt: skip
def test_reduced_reading_scores_like_full(engine, large, enlarged, name, which):
    bits = 12 if 12 in SYNTAXES[name].bits else SYNTAXES[name].bits[-1]
    data = encode_image({"phantom": large, "data set": enlarged}[which], LARGE,
                          Encoding(name, bits))  # fmt: skip
    assert read(data, needed=engine.card.input_size).reduction > 1
    mean, difference = spread(engine, data)
    assert mean < MOST_MEAN.get(name, 0.5)
    assert difference <= REDUCED_TOLERANCE


@pytest.mark.parametrize("which", ["phantom", "data set"])
def test_every_syntax_scores_alike_at_detector_size(engine, large, enlarged, which):
    """Each is reduced by its own codec."""
    pixels = {"phantom": large, "data set": enlarged}[which]
    size = engine.card.input_size
    reference = probability(engine, encode_image(pixels, LARGE, Encoding("explicit", 16)), size)
    for name in ("rle", "jpeg-lossless", "jpeg-ls", "jpeg-2000", "htj2k", "jpeg-2000-lossy"):
        syntax = SYNTAXES[name]
        data = encode_image(pixels, LARGE, Encoding(name, max(syntax.bits)))
        difference = abs(probability(engine, data, size) - reference)
        assert difference <= (LOSSY_TOLERANCE if syntax.lossy else LOSSLESS_TOLERANCE), name


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_reduced_reading_of_images_scores_like_full(engine, large, kind):
    mean, difference = spread(engine, image(large, kind, np.uint8))
    assert mean < 0.5
    assert difference <= REDUCED_TOLERANCE


HEIGHT, WIDTH = 2304, 1792
"""Of an image that is read reduced, in pixels."""

TEXTS = (("R CC",), ("DOE^JANE", "1957-03-11", "ID 4711", "LEFT MLO"))
PLACES = ((0.03, 0.03), (0.5, 0.02), (0.97, 0.03), (0.97, 0.5), (0.97, 0.97), (0.03, 0.97))
"""Positions of text, as shares of the remaining width and height, for a left breast."""


def lettered(pixels: np.ndarray, box: tuple, text: tuple, place: tuple, scale: float) -> np.ndarray:
    """The image with text, or unchanged if the text would be near the breast's box."""
    height, width = pixels.shape
    layer = np.zeros(pixels.shape, np.uint8)
    scale *= height / 1024
    font, weight = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(2 * scale))
    columns = max(cv2.getTextSize(line, font, scale, weight)[0][0] for line in text)
    step = round(34 * scale)
    left = round(place[0] * (width - columns))
    top = round(place[1] * (height - step * len(text)))
    for line, words in enumerate(text, 1):
        cv2.putText(layer, words, (left, top + line * step - step // 3), font, scale, 255, weight)
    margin = height // 24
    near = layer[max(0, box[0] - margin) : box[2] + margin, max(0, box[1] - margin) :][
        :, : box[3] + 2 * margin
    ]
    return pixels if near.any() else np.maximum(pixels, layer.astype(np.float32) / 255)


def phantoms_without_text():
    for seed, laterality, view in (
        (7, Laterality.LEFT, View.CRANIO_CAUDAL),
        (2, Laterality.RIGHT, View.CRANIO_CAUDAL),
        (3, Laterality.LEFT, View.MEDIO_LATERAL_OBLIQUE),
        (5, Laterality.RIGHT, View.MEDIO_LATERAL_OBLIQUE),
    ):
        config = PhantomConfig(
            seed, laterality, view, label_text=False, mass=seed == 3, height=HEIGHT, width=WIDTH
        )
        yield config, draw_phantom(config).pixels


def moved_by_text(engine: Engine, config: PhantomConfig, pixels: np.ndarray) -> list[float]:
    """Change of the score by each text outside the breast, for DICOM as served."""
    size = engine.card.input_size
    plain = read(encode_image(pixels, config), needed=size)
    assert plain.pixels.size < pixels.size  # read reduced, like a detector's image
    preprocessed = preprocess(plain, size)
    box = tuple(plain.reduction * side for side in preprocessed.box)
    score = engine.predict(plain).probability
    moved = []
    for text in TEXTS:
        for place in PLACES:
            for scale in (0.7, 1.4):
                across = place if preprocessed.chest_wall == "left" else (1 - place[0], place[1])
                upright = 1 - pixels if preprocessed.inverted else pixels
                other = lettered(upright, box, text, across, scale)
                if other is upright:
                    continue
                stored = 1 - other if preprocessed.inverted else other
                found = read(encode_image(stored, config), needed=size)
                if np.array_equal(preprocess(found, size).pixels, preprocessed.pixels):
                    moved.append(0.0)
                else:
                    moved.append(abs(engine.predict(found).probability - score))
    return moved


def test_text_outside_the_breast_does_not_move_the_score(engine):
    for config, pixels in phantoms_without_text():
        moved = moved_by_text(engine, config, pixels)
        assert len(moved) >= 6
        assert max(moved) == 0.0


def test_text_outside_the_breast_does_not_move_the_score_of_a_data_set(engine, real_dataset):
    paths = sorted((real_dataset / "train").rglob("*.jpg"))
    tried = 0
    for path in paths[:: max(1, len(paths) // 5)][:5]:
        pixels = cv2.resize(
            read_file(path).pixels, (HEIGHT, HEIGHT), interpolation=cv2.INTER_LINEAR
        )
        moved = moved_by_text(engine, PhantomConfig(seed=0), pixels)
        assert max(moved, default=0.0) <= LOSSLESS_TOLERANCE
        tried += len(moved)
    assert tried >= 20


def test_a_mirrored_image_is_reported(engine):
    config = PhantomConfig(seed=7, laterality=Laterality.LEFT)
    pixels = draw_phantom(config).pixels
    upright = engine.predict(read(encode_image(pixels, config)))
    mirrored = encode_image(np.ascontiguousarray(pixels[:, ::-1]), config)
    warned = engine.predict(read(mirrored))
    assert upright.warnings == ()
    assert any("mirrored" in warning for warning in warned.warnings)
    assert abs(upright.probability - warned.probability) < LOSSLESS_TOLERANCE
    # Marked as flipped without an orientation, it contradicts nothing.
    told = changed(mirrored, PatientOrientation=None, FieldOfViewHorizontalFlip="YES")
    assert engine.predict(read(told)).warnings == ()
