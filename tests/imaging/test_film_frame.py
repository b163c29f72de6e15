"""Film in a white frame: only the frame is removed."""

from pathlib import Path

import numpy as np
import pytest

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


def test_images_without_a_frame_are_unchanged(films, real_dataset: Path):
    images = [*films, *(1 - film for film in films)]
    images += [np.ones((50, 40), np.float32), np.zeros((50, 40), np.float32)]
    paths = sorted((real_dataset / "train").rglob("*.jpg"))
    images += [read_file(path).pixels for path in paths[:: max(1, len(paths) // 200)]]
    for pixels in images:
        height, width = pixels.shape
        assert without_film_frame(pixels) == (0, height, 0, width)
