"""The learned gate: its definition, and the gate of the released model."""

import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from mammoscope.errors import NotAMammogramError
from mammoscope.imaging.learned_gate import SIDE, LearnedGate, look_of
from mammoscope.imaging.mammogram import Laterality, Mammogram, SourceFacts, View
from mammoscope.imaging.network_input import ReadingOptions, make_network_input
from mammoscope.imaging.pool.transport import ReadingRequest, decode_request, encode_request
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.quality import discrepancies, require_mammogram
from mammoscope.model.artifact.folder import load_artifact
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom
from tests.conftest import MODEL, REAL_DATASET, not_done

SIZE = (96, 72)
CASES = REAL_DATASET.parent / "cases"


def constant(score: float, *, refuse_below: float = 0.0, warn_below: float = 1.0) -> LearnedGate:
    """A gate that gives the same score to every image."""
    return LearnedGate(
        weights=(0.0,) * SIDE**2, bias=score, refuse_below=refuse_below, warn_below=warn_below
    )


def phantom(seed: int) -> np.ndarray:
    config = PhantomConfig(
        seed=seed,
        laterality=list(Laterality)[seed % 2],
        view=(View.CRANIO_CAUDAL, View.MEDIO_LATERAL_OBLIQUE)[seed // 2 % 2],
        mass=seed % 3 == 0,
        height=640,
        width=520,
    )
    return draw_phantom(config).pixels


def mammogram(pixels: np.ndarray) -> Mammogram:
    kept = np.ascontiguousarray(pixels, np.float32)
    return Mammogram(kept, SourceFacts("PNG", kept.shape[1], kept.shape[0], 8, "L"))


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def released() -> LearnedGate:
    gate = load_artifact(MODEL).require_card().gate
    assert gate is not None
    return gate


@pytest.mark.parametrize(("score", "outcome"), [(-0.1, "refused"), (0.5, "warned"), (1.5, "")])
def test_low_scores_are_refused_and_medium_scores_give_a_warning(score, outcome):
    shown = mammogram(phantom(0))
    preprocessed, gate = preprocess(shown, SIZE), constant(score)
    if outcome == "refused":
        with pytest.raises(NotAMammogramError, match="not those of a mammogram"):
            require_mammogram(shown, preprocessed, gate)
        return
    seen = require_mammogram(shown, preprocessed, gate)
    warned = discrepancies(shown, preprocessed, seen, gate)
    assert sum("not be a mammogram" in each for each in warned) == bool(outcome)


def test_without_a_gate_only_the_rules_apply():
    shown = mammogram(phantom(0))
    preprocessed = preprocess(shown, SIZE)
    assert not discrepancies(shown, preprocessed, require_mammogram(shown, preprocessed))
    data = png(phantom(0))
    assert make_network_input(data, ReadingOptions(SIZE)).warnings == ()
    with pytest.raises(NotAMammogramError):
        make_network_input(data, ReadingOptions(SIZE, gate=constant(-1.0)))
    warned = make_network_input(data, ReadingOptions(SIZE, gate=constant(0.5)))
    assert "may not be a mammogram" in warned.warnings[0]


def test_input_does_not_depend_on_side_polarity_and_size():
    pixels = phantom(3)
    expected = look_of(preprocess(mammogram(pixels), SIZE))
    assert expected.shape == (SIDE**2,)
    copies = {
        "mirrored": pixels[:, ::-1],
        "inverted": 1 - pixels,
        "padded": np.pad(pixels, ((40, 40), (30, 30)), constant_values=1.0),
        "half the size": cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    }
    for name, copy in copies.items():
        found = look_of(preprocess(mammogram(copy), SIZE))
        assert np.abs(found - expected).mean() < 0.05, name


@pytest.mark.parametrize(
    "changed",
    [{"weights": (0.0,)}, {"bias": float("nan")}, {"refuse_below": 2.0}, {"surprise": 1}],
)
def test_an_invalid_gate_is_refused(changed):
    content = {**constant(0.0).model_dump(), **changed}
    with pytest.raises(ValidationError):
        LearnedGate(**content)


def test_a_reading_process_gets_the_gate(released):
    for gate in (None, constant(0.5), released):
        request = ReadingRequest(10, ReadingOptions(SIZE, gate=gate), 20)
        assert decode_request(encode_request(request)) == request


def test_the_released_gate_passes_phantoms_without_a_warning(released):
    """Phantoms that were not used for fitting; those had the first seeds."""
    for seed in range(1000, 1024):
        pixels = phantom(seed)
        for copy in (pixels, 1 - pixels, pixels[:, ::-1]):
            assert not released.doubts(preprocess(mammogram(copy), SIZE))


def drawn_chest(seed: int) -> np.ndarray:
    """A body with two dark lungs and ribs, which looks nothing like a breast."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[0:400, 0:360] / 400
    body = np.abs(across - 0.45) < rng.uniform(0.36, 0.42)
    pixels = np.where(body, 0.7, 0.0) * (0.9 + 0.1 * np.sin(down * rng.uniform(60, 90)))
    for middle in (0.27, 0.63):
        radius = ((across - middle) / 0.13) ** 2 + ((down - 0.5) / rng.uniform(0.3, 0.38)) ** 2
        pixels[radius < 1] *= 0.4
    noise = rng.normal(0, 0.01, pixels.shape)
    return np.clip(np.where(body, pixels + noise, 0), 0, 1).astype(np.float32)


def test_the_released_gate_refuses_other_images(released):
    refused = [
        released.refuses(preprocess(mammogram(drawn_chest(seed)), SIZE)) for seed in range(20)
    ]
    assert all(refused)


@pytest.mark.skipif(not CASES.is_dir(), reason=not_done("no cases beside the checkout"))
def test_chest_radiographs_are_refused(released):
    for path in CASES.glob("14_chest_xray_*"):
        with pytest.raises(NotAMammogramError):
            make_network_input(path.read_bytes(), ReadingOptions((299, 299), gate=released))


def test_the_gate_decides_after_the_rules(released):
    """The message names what the rules find, if they find anything."""
    shown = mammogram(phantom(0))
    coloured = replace(shown, source=replace(shown.source, coloured=0.5))
    with pytest.raises(NotAMammogramError, match="it is coloured") as caught:
        require_mammogram(coloured, preprocess(coloured, SIZE), constant(-1.0))
    assert "its shape" not in str(caught.value)
