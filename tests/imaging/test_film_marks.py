"""Films with painted-over names, bright edges and labels: cropped to the breast, not refused."""

import cv2
import numpy as np
import pytest

from mammoscope.errors import NotAMammogramError
from mammoscope.imaging.learned_gate import LearnedGate
from mammoscope.imaging.mammogram import Laterality, Mammogram, SourceFacts, View
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.preprocessing.film_marks import without_film_edges, without_painted_blocks
from mammoscope.imaging.quality import discrepancies, measure, reasons, require_mammogram
from mammoscope.model.artifact.folder import load_artifact
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom
from tests.conftest import MODEL

SIZE = (96, 72)
SEEDS = range(4)


def mammogram(pixels: np.ndarray) -> Mammogram:
    kept = np.ascontiguousarray(np.clip(pixels, 0, 1), np.float32)
    return Mammogram(kept, SourceFacts("PNG", kept.shape[1], kept.shape[0], 8, "L"))


def film(seed: int) -> np.ndarray:
    """A phantom with its chest wall on the left, on the grey and noisy background of a film."""
    view = (View.CRANIO_CAUDAL, View.MEDIO_LATERAL_OBLIQUE)[seed % 2]
    drawn = draw_phantom(
        PhantomConfig(seed=seed, laterality=Laterality.LEFT, view=view, height=640, width=520)
    ).pixels
    noise = np.random.default_rng(seed).normal(0, 0.006, drawn.shape)
    return np.clip(0.15 + 0.8 * drawn + noise, 0.05, 1)


def painted(pixels: np.ndarray) -> np.ndarray:
    """Paint over two names: at the upper right and at the right edge."""
    marked = pixels.copy()
    marked[20:70, 400:480] = 0
    marked[560:630, 490:520] = 0
    return marked


def edged(pixels: np.ndarray) -> np.ndarray:
    """Brighten the film's upper, lower and outer edges."""
    marked = pixels.copy()
    for edge in (marked[:12], marked[-12:], marked[:, -10:]):
        edge[:] = np.maximum(edge, 0.3)
    return marked


def labelled(pixels: np.ndarray) -> np.ndarray:
    """Stick on a label: a frame with letters, beside its painted-over part."""
    marked = pixels.copy()
    marked[10:150, 330:510] = 0.22
    for row in range(20, 140, 24):
        marked[row : row + 10, 340:500:12] = 0.9
    return marked


@pytest.fixture(scope="module")
def released() -> LearnedGate:
    gate = load_artifact(MODEL).require_card().gate
    assert gate is not None
    return gate


@pytest.mark.parametrize(
    ("seed", "marked"), [*((seed, painted) for seed in SEEDS), (0, edged), (2, edged)]
)
def test_marks_do_not_move_the_crop(seed, marked, released):
    plain, shown = mammogram(film(seed)), mammogram(marked(film(seed)))
    expected, found = preprocess(plain, SIZE), preprocess(shown, SIZE)
    require_mammogram(shown, found, released)
    assert not found.inverted
    assert found.chest_wall == expected.chest_wall
    assert np.abs(np.subtract(found.box, expected.box)).max() <= 25


@pytest.mark.parametrize("seed", SEEDS)
def test_the_search_ignores_side_and_polarity(seed):
    pixels = painted(film(seed))
    expected = preprocess(mammogram(pixels), SIZE)
    mirrored = preprocess(mammogram(pixels[:, ::-1]), SIZE)
    inverted = preprocess(mammogram(1 - pixels), SIZE)
    assert np.abs(mirrored.pixels.astype(int) - expected.pixels).mean() < 2
    assert np.abs(inverted.pixels.astype(int) - expected.pixels).mean() < 2
    assert inverted.inverted


def test_the_learned_gate_overrules_the_rule_of_the_empty_background(released):
    shown = mammogram(labelled(film(0)))
    preprocessed = preprocess(shown, SIZE)
    why = reasons(measure(shown, preprocessed))
    assert why
    assert not reasons(measure(shown, preprocessed), certain=True)
    with pytest.raises(NotAMammogramError):
        require_mammogram(shown, preprocessed)
    seen = require_mammogram(shown, preprocessed, released)
    warned = discrepancies(shown, preprocessed, seen, released)
    assert f"The image may not be a mammogram: {'; '.join(why)}." in warned


def test_a_gate_that_does_not_vouch_overrules_nothing(released):
    shown = mammogram(labelled(film(0)))
    preprocessed = preprocess(shown, SIZE)
    unsure = released.model_copy(update={"weights": (0.0,) * len(released.weights), "bias": -0.1})
    assert not unsure.refuses(preprocessed)
    with pytest.raises(NotAMammogramError, match="background is not empty"):
        require_mammogram(shown, preprocessed, unsure)


@pytest.mark.parametrize("radius", [0.2, 0.235])
def test_an_overexposed_implant_belongs_to_the_breast(radius):
    rows, columns = np.mgrid[:640, :520] / 640
    breast = ((rows - 0.5) / 0.5) ** 2 + (columns / 0.68) ** 2 < 1
    implant = ((rows - 0.55) / radius) ** 2 + (columns / (1.6 * radius)) ** 2 < 1
    random = np.random.default_rng(0)
    texture = cv2.GaussianBlur(random.normal(0, 0.1, rows.shape), (0, 0), 4)
    tissue = 0.5 + 0.4 * cv2.GaussianBlur(breast.astype(float), (0, 0), 40) + texture
    background = np.abs(random.normal(0.03, 0.01, rows.shape))
    pixels = np.where(breast, np.minimum(tissue, 0.96), background)
    expected = preprocess(mammogram(pixels), SIZE)
    for shown, inverted in (
        (np.where(implant, 1.0, pixels), False),
        (np.where(implant, 0.0, 1.0 - pixels), True),
    ):
        found = preprocess(mammogram(shown), SIZE)
        assert found.inverted == inverted
        assert np.abs(np.subtract(found.box, expected.box)).max() <= 10


def test_a_black_background_is_not_painted():
    assert without_painted_blocks(np.float32(cv2.resize(film(1) - 0.2, (256, 256)).clip(0))) is None


def test_only_strips_are_edges():
    breast = np.zeros((256, 256), np.bool_)
    breast[60:200, :120] = True
    edged_breast = breast.copy()
    edged_breast[:6], edged_breast[:, -6:], edged_breast[:200, :5] = True, True, True
    found = without_film_edges(edged_breast)
    assert found is not None
    assert (found ^ breast).mean() < 0.01
    assert without_film_edges(np.pad(np.ones((6, 256), np.bool_), ((0, 250), (0, 0)))) is None
