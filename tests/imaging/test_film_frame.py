"""Film in a white frame: only the frame is removed."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammoscope.imaging.mammogram import Laterality, Mammogram, SourceFacts, View
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.preprocessing.film_frame import without_film_frame
from mammoscope.imaging.quality import require_mammogram
from mammoscope.imaging.reading import read_file
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom

SIZE = (192, 144)


def mammogram(pixels: np.ndarray) -> Mammogram:
    pixels = np.clip(pixels, 0, 1).astype(np.float32)
    return Mammogram(pixels, SourceFacts("PNG", pixels.shape[1], pixels.shape[0], 8, "L"))


@pytest.fixture(scope="module")
def films() -> list[np.ndarray]:
    return [
        np.maximum(
            draw_phantom(
                PhantomConfig(
                    seed=seed,
                    laterality=list(Laterality)[seed % 2],
                    view=(View.CRANIO_CAUDAL, View.MEDIO_LATERAL_OBLIQUE)[seed // 2 % 2],
                    height=640,
                    width=(520, 640)[seed // 4],
                    label_text=False,
                )
            ).pixels,
            (0.0, 0.14)[seed % 2],
        )
        for seed in range(8)
    ]


def framed(film: np.ndarray, widths: tuple[int, int, int, int], noise: float) -> np.ndarray:
    top, bottom, left, right = widths
    rng = np.random.default_rng(7)
    shape = (film.shape[0] + top + bottom, film.shape[1] + left + right)
    pixels = np.clip(1 - noise * np.abs(rng.standard_normal(shape)), 0, 1)
    pixels[top : shape[0] - bottom, left : shape[1] - right] = film
    return pixels.astype(np.float32)


@pytest.mark.parametrize("noise", [0.02, 0.08, 0.15])
@pytest.mark.parametrize(
    "widths", [(10, 10, 10, 10), (4, 20, 12, 7), (30, 30, 30, 30), (15, 15, 0, 0), (9, 0, 9, 0),
               (0, 12, 0, 25)]
)  # fmt: skip
def test_a_noisy_white_frame_is_removed(films, widths, noise):
    for film in films:
        shown = mammogram(framed(film, widths, noise))
        found, expected = preprocess(shown, SIZE), preprocess(mammogram(film), SIZE)
        require_mammogram(shown, found)
        assert found.inverted is expected.inverted
        assert found.chest_wall == expected.chest_wall
        # A bright strip along the chest wall may remain.
        assert np.abs(found.pixels.astype(int) - expected.pixels).mean() < 8


def uneven(film: np.ndarray, widths: list[int], noise: float, skew: float, seed: int) -> np.ndarray:
    """Put a film into a frame whose edges are oblique, with a dark line along them."""
    pixels = framed(film, tuple(widths), noise)
    height, width = pixels.shape
    y, x = np.mgrid[:height, :width]
    across, down = 1 + skew * x / width, 1 + skew * y / height
    top, bottom, left, right = widths
    frame = (y < top * across) | (height - 1 - y < bottom * across)
    frame |= (x < left * down) | (width - 1 - x < right * down)
    line = cv2.dilate(frame.astype(np.uint8), np.ones((5, 5))).astype(bool)
    pixels = np.where(line, film.min(), pixels)
    white = 1 - noise * np.abs(np.random.default_rng(seed).standard_normal(pixels.shape))
    return np.where(frame, np.clip(white, 0, 1), pixels).astype(np.float32)


# Rounding grey values moves the ranks of one film by 1.1 without a frame, and the cut by a pixel.
COPIES = {
    "inverted": (lambda pixels: 1 - pixels, 0.1),
    "mirrored": (lambda pixels: pixels[:, ::-1].copy(), 0.1),
    "padded": (lambda pixels: np.pad(pixels, ((0, 30), (40, 0))), 0.1),
    "16 bits": (lambda pixels: np.rint(pixels * 65535) / 65535, 4),
    "8 bits": (lambda pixels: np.rint(pixels * 255) / 255, 4),
    "stretched": (lambda pixels: cv2.resize(pixels, (640, 640), interpolation=cv2.INTER_AREA), 13),
    "half": (lambda pixels: cv2.resize(pixels, None, fx=0.5, fy=0.5,
                                       interpolation=cv2.INTER_AREA), 20),
}  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    number=st.integers(0, 7),
    sides=st.sets(st.integers(0, 3), min_size=1),
    depths=st.lists(st.integers(4, 25), min_size=4, max_size=4),
    look=st.tuples(st.floats(0.01, 0.15), st.floats(0, 0.3)),
)
def test_copies_of_a_framed_film_give_one_result(films, number, sides, depths, look):
    film, (noise, skew) = films[number], look
    expected = preprocess(mammogram(film), SIZE)
    # A frame along the chest wall alone can be as bright as the tissue beside it.
    if sides == {2 if expected.chest_wall == "left" else 3}:
        sides = sides | {0}
    widths = [depth if side in sides else 0 for side, depth in enumerate(depths)]
    pixels = uneven(film, widths, noise, skew, number)
    found = preprocess(mammogram(pixels), SIZE)
    assert found.inverted is expected.inverted
    assert found.chest_wall == expected.chest_wall
    assert np.abs(found.pixels.astype(int) - expected.pixels).mean() < 15
    # The box stays in the coordinates of the whole image.
    moved = np.add(expected.box, (widths[0], widths[2], widths[0], widths[2]))
    assert np.abs(np.subtract(found.box, moved)).max() < 24
    for name, (copy, most) in COPIES.items():
        other = preprocess(mammogram(copy(pixels)), SIZE)
        assert np.abs(other.pixels.astype(int) - found.pixels).mean() < most, name


def test_images_without_a_frame_are_unchanged(films, real_dataset: Path):
    images = [*films, *(1 - film for film in films)]
    images += [np.ones((50, 40), np.float32), np.zeros((50, 40), np.float32)]
    paths = sorted((real_dataset / "train").rglob("*.jpg"))
    images += [read_file(path).pixels for path in paths[:: max(1, len(paths) // 200)]]
    for pixels in images:
        height, width = pixels.shape
        assert without_film_frame(pixels) == (0, height, 0, width)
