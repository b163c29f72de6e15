import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammoscope.imaging.mammogram import Mammogram, SourceFacts
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom
from mammoscope.training.augmentation import copy, erase, flip, jitter
from mammoscope.training.schedules import learning_rate_share


def preprocessed_phantom(size):
    drawn = draw_phantom(PhantomConfig(seed=2)).pixels
    source = SourceFacts("PNG", drawn.shape[1], drawn.shape[0], 8, "L")
    return preprocess(Mammogram(drawn, source), size).pixels


@pytest.fixture(scope="module")
def pixels():
    return preprocessed_phantom((128, 96))


@pytest.mark.parametrize("change", [flip, erase, copy, jitter])
def test_equal_states_give_equal_images(change, pixels):
    before = pixels.copy()
    first, again, *others = (
        change(pixels, np.random.default_rng(seed)) for seed in (1, 1, *range(2, 9))
    )
    assert np.array_equal(first, again)
    assert not all(np.array_equal(first, other) for other in others)
    assert np.array_equal(pixels, before)


def test_flips_swap_top_and_bottom_in_half_of_the_cases(pixels):
    rng = np.random.default_rng(0)
    flipped = [not np.array_equal(flip(pixels, rng), pixels) for _ in range(400)]
    assert 0.4 < np.mean(flipped) < 0.6
    assert np.array_equal(flip(pixels[::-1], np.random.default_rng(3))[::-1],
                          flip(pixels, np.random.default_rng(3)))  # fmt: skip


def test_erasing_removes_only_tissue_in_half_of_the_cases(pixels):
    shares = []
    for seed in range(200):
        changed = erase(pixels, np.random.default_rng(seed))
        flipped = flip(pixels, np.random.default_rng(seed))
        different = changed != flipped
        shares.append(different.sum() / (pixels > 0).sum())
        # Erased tissue is uniform grey, and the outline of the breast does not change.
        assert len(np.unique(changed[different])) <= 1
        assert np.array_equal(changed > 0, flipped > 0)
    assert 0.35 < np.mean(np.array(shares) > 0) < 0.6
    assert max(shares) < 0.15


def test_copies_flip_as_flips_do(pixels):
    for seed in range(100):
        changed = copy(pixels, np.random.default_rng(seed)).astype(float)
        flipped = flip(pixels, np.random.default_rng(seed)).astype(float)
        differences = [np.abs(changed - each).mean() for each in (flipped, flipped[::-1])]
        assert differences[0] < 0.7 * differences[1]


def test_copies_erase_nothing():
    even = np.full((128, 96), 200, np.uint8)
    for seed in range(100):
        changed = copy(even, np.random.default_rng(seed)).astype(float)
        # Only noise is left, which is gone in the mean of a square's pixels.
        assert cv2.blur(changed, (8, 8)).min() > 190
    erased = (erase(even, np.random.default_rng(seed)).astype(float) for seed in range(100))
    assert min(cv2.blur(each, (8, 8)).min() for each in erased) < 130


def test_jitter_changes_images_as_little_as_copies_differ():
    pixels = preprocessed_phantom((299, 299))  # its shifts are in pixels of this size
    same, moved, coarse = [], [], []
    for seed in range(200):
        changed = jitter(pixels, np.random.default_rng(seed))
        erased = erase(pixels, np.random.default_rng(seed))
        assert changed.shape == erased.shape
        assert changed.dtype == np.uint8
        same.append(np.array_equal(changed, erased))
        moved.append(abs(int((changed > 0).sum()) / int((erased > 0).sum()) - 1))
        both = (cv2.resize(each, (16, 16), interpolation=cv2.INTER_AREA).astype(float)
                for each in (changed, erased))  # fmt: skip
        coarse.append(np.abs(np.subtract(*both)).mean())
    # Four changes, each in half of the cases.
    assert 0.02 < np.mean(same) < 0.12
    assert max(moved) < 0.1
    # At a coarse scale the image hardly changes: grey values have a range of 255.
    assert max(coarse) < 20
    assert np.median(coarse) < 4


def test_three_channels_move_together():
    pixels = preprocessed_phantom((96, 72))
    three = np.stack([pixels] * 3, axis=-1)
    for change in (flip, erase, copy, jitter):
        for seed in range(20):
            changed = change(three, np.random.default_rng(seed))
            assert changed.shape == three.shape
            if change in (copy, jitter):  # each channel has its own noise, of a few levels
                spread = np.ptp(changed.astype(int), axis=-1)
                assert np.percentile(spread, 99) < 40
            else:
                alone = change(pixels, np.random.default_rng(seed))
                assert (changed == alone[..., None]).all()


def test_jitter_takes_detail_as_smaller_copies_do():
    noise = np.random.default_rng(0).integers(1, 256, (256, 160), dtype=np.uint8)

    def detail(pixels: np.ndarray) -> float:
        """Standard deviation of what is lost at half the size."""
        half = cv2.resize(pixels, (80, 128), interpolation=cv2.INTER_AREA)
        back = cv2.resize(half, (160, 256), interpolation=cv2.INTER_LINEAR)
        return float((pixels.astype(float) - back).std())

    kept = [
        detail(jitter(noise, np.random.default_rng(seed))) / detail(noise) for seed in range(100)
    ]
    assert np.mean(np.array(kept) < 0.4) > 0.25
    assert max(kept) == pytest.approx(1, abs=0.3)


@given(
    schedule=st.sampled_from(["constant", "cosine", "exponential", "cyclical", "plateau"]),
    progress=st.floats(0, 1, exclude_max=True),
    warmup=st.floats(0, 0.5),
    losses=st.lists(st.floats(0, 5)),
)
def test_learning_rates_stay_between_zero_and_the_peak(schedule, progress, warmup, losses):
    assert 0 < learning_rate_share(schedule, progress, warmup, losses) <= 1


def test_schedules_have_the_shape_of_their_names():
    def at(schedule, *points, losses=()):
        return [learning_rate_share(schedule, point, 0.1, losses) for point in points]

    assert at("constant", 0.05, 0.1, 0.9) == [0.5, 1, 1]
    assert at("cosine", 0.1, 0.55, 0.999999) == pytest.approx([1, 0.505, 0.01], abs=1e-3)
    assert at("exponential", 0.1, 0.55, 0.999999) == pytest.approx([1, 0.1, 0.01], abs=1e-3)
    assert at("cyclical", 0.1, 0.325, 0.55, 0.775) == pytest.approx([0.01, 1, 0.01, 1])
    assert at("plateau", 0.5, losses=[3, 2, 1]) == [1]
    assert at("plateau", 0.5, losses=[1, 2, 2]) == [0.3]
    assert at("plateau", 0.5, losses=[1, 2, 2, 2, 2]) == [math.pow(0.3, 2)]
