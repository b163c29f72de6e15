"""The heat map is aligned with the tissue, however the image was exported."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mammoscope.__main__ import main
from mammoscope.errors import NotAMammogramError
from mammoscope.imaging.heat_map import OPACITY, cell_centres, heat_map, overlay
from mammoscope.imaging.mammogram import Laterality, Mammogram, SourceFacts, View
from mammoscope.imaging.network_input import display_of
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.model.artifact.card import Card
from mammoscope.model.prediction import RESEARCH_USE_NOTICE, Prediction
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom

SIZE = (384, 288)
CELLS = (24, 18)
"""A step of 16 pixels along both axes."""


def mammogram(pixels: np.ndarray) -> Mammogram:
    pixels = np.ascontiguousarray(np.clip(pixels, 0, 1), dtype=np.float32)
    return Mammogram(pixels, SourceFacts("PNG", pixels.shape[1], pixels.shape[0], 8, "L"))


def padded(pixels: np.ndarray) -> np.ndarray:
    return np.pad(pixels, ((60, 20), (10, 90)), constant_values=1.0)


VARIANTS = {
    "as it is": lambda p: p,
    "mirrored": lambda p: p[:, ::-1],
    "inverted": lambda p: 1 - p,
    "cropped": lambda p: p[40:-40],
    "stretched to a square": lambda p: cv2.resize(p, (p.shape[0],) * 2),
    "stretched wide": lambda p: cv2.resize(p, (p.shape[1] * 2, p.shape[0])),
    "padded": padded,
    "small": lambda p: cv2.resize(p, (260, 320), interpolation=cv2.INTER_AREA),
    "mirrored and padded": lambda p: padded(p[:, ::-1]),
}


def centre(mask: np.ndarray) -> np.ndarray:
    """Centre (row, column) of a weighted mask."""
    weights = mask.astype(np.float64)
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    return np.array([(rows * weights).sum(), (columns * weights).sum()]) / weights.sum()


def phantom(seed: int) -> np.ndarray:
    return draw_phantom(
        PhantomConfig(
            seed=seed,
            laterality=list(Laterality)[seed % 2],
            view=(View.CRANIO_CAUDAL, View.MEDIO_LATERAL_OBLIQUE)[seed % 3 == 2],
            height=640,
            width=520,
        )
    ).pixels


def spot_in_the_breast(preprocessed, seed: int) -> tuple[int, int]:
    """A point of the source image well inside the breast."""
    top, left, bottom, right = preprocessed.box
    share = 0.3 + 0.1 * seed
    across = 0.7 if preprocessed.mirrored else 0.3
    return round(top + share * (bottom - top)), round(left + across * (right - left))


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("seed", range(3))
def test_the_cell_of_a_spot_covers_it_in_the_image(name, seed):
    """The preprocessing itself determines where a spot of the image ends up."""
    pixels = np.ascontiguousarray(VARIANTS[name](phantom(seed)), dtype=np.float32)
    plain = preprocess(mammogram(pixels), SIZE)
    row, column = spot_in_the_breast(plain, seed)
    marked = pixels.copy()
    height, width = pixels.shape
    shape = (max(2, width // 60), max(2, height // 60))
    value = 0.0 if plain.inverted else 1.0
    cv2.ellipse(marked, (column, row), shape, 0, 0, 360, value, cv2.FILLED)
    preprocessed = preprocess(mammogram(marked), SIZE)
    # The spot may move the outline by a search pixel: thin lines beside the spot itself.
    changed = np.abs(preprocessed.pixels.astype(float) - plain.pixels) > 60
    _, parts, facts, _ = cv2.connectedComponentsWithStats(changed.astype(np.uint8))
    there = centre(parts == 1 + facts[1:, cv2.CC_STAT_AREA].argmax())

    logit_map = np.zeros(CELLS, np.float32)
    rows, columns = (cell_centres(*pair) for pair in zip(CELLS, SIZE, strict=True))
    hot = np.abs(rows - there[0]).argmin(), np.abs(columns - there[1]).argmin()
    logit_map[hot] = 1.0
    heat, breast = heat_map(logit_map, preprocessed)

    top, left, bottom, right = preprocessed.box
    assert heat.shape == breast.shape == (bottom - top, right - left)
    assert breast[row - top, column - left]
    found = np.add(centre(heat), (top, left))
    # Half a cell, in pixels of the source, for the distance between the spot and its cell.
    cell = np.array([(bottom - top) / CELLS[0], (right - left) / CELLS[1]])
    assert (np.abs(found - (row, column)) <= 0.5 * cell + 2).all()
    peak = np.unravel_index(heat.argmax(), heat.shape)
    assert (np.abs(np.add(peak, (top, left)) - (row, column)) <= 0.5 * cell + 2).all()


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1000), cells=st.tuples(st.integers(2, 30), st.integers(2, 30)))
def test_mirroring_the_image_mirrors_the_overlay(seed, cells):
    pixels = draw_phantom(PhantomConfig(seed=seed, height=320, width=256)).pixels
    logit_map = np.random.default_rng(seed).normal(size=cells).astype(np.float32)
    drawn, mirrored = (
        overlay(display_of(shown), logit_map, preprocess(shown, (96, 72))).astype(int)
        for shown in (mammogram(pixels), mammogram(pixels[:, ::-1]))
    )
    # Rounding may turn at the breast's outline.
    assert (np.abs(drawn[:, ::-1] - mirrored).max(axis=2) > 2).mean() < 0.01


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 50), first=st.integers(0, 6), step=st.integers(1, 7))
def test_a_part_of_the_heat_map_is_that_of_the_whole(seed, first, step):
    preprocessed = preprocess(mammogram(phantom(seed)), SIZE)
    logits = np.random.default_rng(seed).normal(size=CELLS).astype(np.float32)
    every = np.s_[first::step, first // 2 :: step]
    heat, breast = heat_map(logits, preprocessed)
    part, part_of_breast = heat_map(logits, preprocessed, every)
    np.testing.assert_allclose(part, heat[every], atol=1e-5)
    np.testing.assert_array_equal(part_of_breast, breast[every])


def test_outside_the_breast_the_image_is_unchanged():
    shown = mammogram(phantom(1))
    preprocessed = preprocess(shown, SIZE)
    logit_map = np.linspace(-1, 1, 63, dtype=np.float32).reshape(9, 7)
    drawn = overlay(display_of(shown), logit_map, preprocessed)
    assert drawn.shape == (*shown.pixels.shape, 3)
    assert drawn.dtype == np.uint8
    top, left, bottom, right = preprocessed.box
    coloured = np.zeros(shown.pixels.shape, bool)
    coloured[top:bottom, left:right] = heat_map(logit_map, preprocessed)[1]
    grey = np.rint(shown.pixels * 255).astype(np.uint8)
    assert (drawn[~coloured] == grey[~coloured][:, None]).all()
    assert np.ptp(drawn[coloured].astype(int), axis=1).mean() > 20


def test_colours_run_from_dark_to_light():
    shown = mammogram(phantom(0))
    preprocessed = preprocess(shown, SIZE)
    logit_map = np.tile(np.linspace(5, 6, 24, dtype=np.float32)[:, None], (1, 18))
    drawn = overlay(display_of(shown), logit_map, preprocessed).astype(float)
    top, left, bottom, right = preprocessed.box
    _, breast = heat_map(logit_map, preprocessed)
    colour = (
        drawn[top:bottom, left:right]
        - (1 - OPACITY) * 255 * (shown.pixels[top:bottom, left:right, None])
    )
    lightness = colour @ (0.2126, 0.7152, 0.0722)
    by_row = [lightness[row][breast[row]].mean() for row in range(20, breast.shape[0] - 20, 20)]
    assert np.diff(by_row).min() > -0.5
    assert by_row[-1] - by_row[0] > 40


def test_a_constant_map_is_drawn_in_one_colour():
    shown = mammogram(phantom(0))
    drawn = overlay(display_of(shown), np.full((9, 7), 3.3, np.float32), preprocess(shown, SIZE))
    # The grey image is mixed in, so only differences between channels show the colour.
    blue_over_red = np.unique(drawn[:, :, 2].astype(int) - drawn[:, :, 0])
    assert blue_over_red[0] == 0
    assert np.ptp(blue_over_red[1:]) <= 1


@pytest.mark.parametrize(
    ("cells", "length", "first", "step"),
    [
        (8, 299, 37, 32),  # InceptionV3, mixed10: convolutions without padding
        (17, 299, 21, 16),  # mixed7
        (12, 384, 15.5, 32),  # ResNet101V2: all padded
        (10, 384, 47.5, 32),
        (1, 96, 47.5, 96),
    ],
)
def test_cells_lie_at_their_receptive_fields(cells, length, first, step):
    found = cell_centres(cells, length)
    assert found[0] == first
    assert np.diff(found) == pytest.approx(step)


@given(cells=st.integers(1, 60), length=st.integers(60, 1100))
def test_cells_lie_inside_the_image(cells, length):
    found = cell_centres(cells, length)
    assert -0.5 <= found[0] <= found[-1] <= length - 0.5
    assert found.mean() == pytest.approx((length - 1) / 2)


CARD = Card(version="1.2.3", sha256="0" * 64, input_size=SIZE)


class HotCornerEngine:
    """Its heat is at the upper end of the chest wall."""

    card = CARD

    def predict(self, shown, *, operating_point="default"):
        preprocessed = preprocess(shown, SIZE)
        if shown.source.width == shown.source.height:
            raise NotAMammogramError("The image does not look like a mammogram: a reason.")
        logit_map = np.zeros(CELLS, np.float32)
        logit_map[:8, :6] = 2.0
        return Prediction(
            probability=0.75,
            logit=1.0,
            threshold=0.5,
            model_version=CARD.version,
            warnings=("A warning.",),
            age_used=False,
            preprocessed=preprocessed,
            logit_map=logit_map,
        )


class TestCommand:
    @pytest.fixture(autouse=True)
    def engine(self, monkeypatch):
        monkeypatch.setattr("mammoscope.cli.explain.load_artifact", lambda path: path)
        monkeypatch.setattr(
            "mammoscope.model.engine.load_engine", lambda artifact: HotCornerEngine()
        )

    @pytest.fixture
    def image(self, tmp_path) -> Path:
        path = tmp_path / "image.png"
        Image.fromarray(np.rint(phantom(1) * 255).astype(np.uint8)).save(path)
        return path

    def test_the_heat_map_is_drawn_over_the_image(self, image, tmp_path, capsys):
        output = tmp_path / "heat.png"
        output.write_text("an older result")
        assert main(["explain", str(image), "--output", str(output)]) == 0
        printed = capsys.readouterr().out
        assert "tumour, probability 0.750; model 1.2.3" in printed
        assert "heat from +0.000 (dark blue) to +2.000 (yellow)" in printed
        assert "A warning." in printed
        assert RESEARCH_USE_NOTICE in printed
        with Image.open(output) as drawn:
            assert drawn.format == "PNG"
            assert drawn.size == (520, 640)
            colours = np.asarray(drawn).astype(int)
        # Seed 1 is a right breast: the chest wall is on the right.
        yellow = colours[:, :, 0] - colours[:, :, 2]
        assert centre(yellow > 60)[1] > 300
        assert [path.name for path in tmp_path.glob(".*")] == []

    def test_a_refused_image_leaves_no_file(self, tmp_path, capsys):
        path, output = tmp_path / "square.png", tmp_path / "heat.png"
        square = cv2.resize(phantom(1), (400, 400))
        Image.fromarray(np.rint(square * 255).astype(np.uint8)).save(path)
        assert main(["explain", str(path), "--output", str(output)]) == 1
        assert "does not look like a mammogram" in capsys.readouterr().err
        assert not output.exists()

    def test_unwritable_files_are_reported(self, image, tmp_path, capsys):
        for output in (tmp_path, tmp_path / "missing" / "heat.png", image):
            assert main(["explain", str(image), "--output", str(output)]) == 1
            assert str(tmp_path) not in capsys.readouterr().err
        with Image.open(image) as untouched:
            assert untouched.mode == "L"

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
    def test_a_full_disk(self, image, capsys):
        assert main(["explain", str(image), "--output", "/dev/full"]) == 1
        assert "cannot be written" in capsys.readouterr().err

    def test_a_failure_while_writing_keeps_the_existing_file(self, image, tmp_path, monkeypatch):
        output = tmp_path / "heat.png"
        output.write_text("an older result")

        def fail(self, stream, *_, **__):
            stream.write(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Image.Image, "save", fail)
        assert main(["explain", str(image), "--output", str(output)]) == 1
        assert output.read_text() == "an older result"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["heat.png", "image.png"]
