"""Phantoms look like mammograms to software, and are the same for the same seed."""

import csv
import errno
import re
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mammoscope.errors import ConfigurationError, StorageError
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.phantoms.drawing import (
    MIN_SIDE,
    PhantomConfig,
    _power_law_noise,
    draw_phantom,
    write_phantom_dataset,
    write_phantoms,
)

METADATA_COLUMNS = (
    "file",
    "split",
    "label",
    "patient_id",
    "image_id",
    "site_id",
    "machine_id",
    "laterality",
    "view",
    "age",
    "implant",
    "density",
    "BIRADS",
    "biopsy",
    "invasive",
    "difficult_negative_case",
)
"""Columns of the Kaggle data set's table."""


VIEWS = (View.CRANIO_CAUDAL, View.MEDIO_LATERAL_OBLIQUE)

configs = st.builds(
    PhantomConfig,
    seed=st.integers(0, 2**31),
    laterality=st.sampled_from(Laterality),
    view=st.sampled_from(VIEWS),
    mass=st.booleans(),
    calcifications=st.booleans(),
    label_text=st.booleans(),
    height=st.integers(MIN_SIDE, 700),
    width=st.integers(MIN_SIDE, 700),
)


@settings(max_examples=25, deadline=None)
@given(configs)
def test_every_configuration_draws_a_breast_on_black(config: PhantomConfig) -> None:
    phantom = draw_phantom(config)
    assert phantom.pixels.dtype == np.float32
    assert phantom.pixels.shape == phantom.lesion_mask.shape == (config.height, config.width)
    assert phantom.pixels.min() >= 0.0
    assert phantom.pixels.max() <= 1.0
    assert phantom.lesion_mask.any() == config.mass
    background = float((phantom.pixels == 0).mean())
    assert 0.2 < background < 0.9
    halves = np.array_split(phantom.pixels > 0, 2, axis=1)
    chest_wall = int(np.argmax([half.sum() for half in halves]))
    assert chest_wall == (0 if config.laterality is Laterality.LEFT else 1)


def test_the_same_configuration_draws_the_same_pixels() -> None:
    config = PhantomConfig(7, mass=True, calcifications=True)
    assert np.array_equal(draw_phantom(config).pixels, draw_phantom(config).pixels)
    assert not np.array_equal(draw_phantom(config).pixels, draw_phantom(PhantomConfig(8)).pixels)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("seed", range(8))
def test_a_mass_is_brighter_than_the_same_place_without_it(seed: int, view: View) -> None:
    ill = draw_phantom(PhantomConfig(seed, view=view, mass=True))
    well = draw_phantom(PhantomConfig(seed, view=view))
    core = ill.lesion_mask
    assert ill.pixels[core].mean() > well.pixels[core].mean() + 0.1
    assert 0.001 < core.mean() < 0.02


def test_label_text_does_not_touch_the_breast() -> None:
    with_text = draw_phantom(PhantomConfig(3, Laterality.RIGHT)).pixels
    without = draw_phantom(PhantomConfig(3, Laterality.RIGHT, label_text=False)).pixels
    rows, columns = np.nonzero(with_text != without)
    assert rows.max() < 0.1 * with_text.shape[0]
    assert columns.max() < 0.5 * with_text.shape[1]
    assert without[with_text != without].max() == 0.0


def test_tissue_has_the_power_spectrum_of_mammograms() -> None:
    noise = _power_law_noise((512, 512), np.random.default_rng(0))
    power = np.abs(np.fft.rfft2(noise)) ** 2
    radius = np.hypot(np.fft.fftfreq(512)[:, None] * 512, np.arange(257))
    rings = [(low, 2 * low) for low in (4, 8, 16, 32)]
    means = [power[(radius >= low) & (radius < high)].mean() for low, high in rings]
    slope = np.polyfit(np.log([low for low, _ in rings]), np.log(means), 1)[0]
    assert slope == pytest.approx(-3.0, abs=0.3)


def test_a_phantom_is_drawn_fast() -> None:
    draw_phantom(PhantomConfig(0))
    start = time.process_time()
    for seed in range(5):
        draw_phantom(PhantomConfig(seed, view=View.MEDIO_LATERAL_OBLIQUE, mass=True))
    assert (time.process_time() - start) / 5 < 0.5  # 0.07 s measured, plus a margin


@pytest.mark.parametrize(
    "wrong", [{"height": 10}, {"width": MIN_SIDE - 1}, {"seed": -1}, {"view": View.MEDIO_LATERAL}]
)
def test_impossible_configurations_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        PhantomConfig(**{"seed": 0, **wrong})  # type: ignore[arg-type]


def test_phantom_files_mix_classes_views_and_formats(tmp_path: Path) -> None:
    paths = write_phantoms(tmp_path / "new" / "folder", 6, seed=1)
    assert len(set(paths)) == 6
    assert {path.suffix for path in paths} == {".jpg", ".png"}
    assert {"CC", "MLO"} == {path.stem.split("_")[3] for path in paths}
    assert {"mass", "plain"} == {path.stem.split("_")[4] for path in paths}
    modes = set()
    for path in paths:
        with Image.open(path) as image:
            modes.add(image.mode)
            assert image.size == (832, 1024)
    assert modes == {"L", "I;16"}


def test_a_written_data_set_has_the_published_layout(tmp_path: Path) -> None:
    paths = write_phantom_dataset(tmp_path, patients=6, seed=2, metadata=True)
    assert sorted(path for path in tmp_path.rglob("*.jpg")) == sorted(paths)
    assert len(paths) == 24
    patients: dict[str, set[str]] = {}
    labels: dict[str, set[str]] = {}
    for path in paths:
        assert re.fullmatch(r"\d+_\d+_png\.rf\.[0-9a-f]{32}\.jpg", path.name)
        split, label = path.relative_to(tmp_path).parts[:2]
        patients.setdefault(split, set()).add(path.name.split("_")[0])
        labels.setdefault(split, set()).add(label)
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((640, 640), "RGB")
    assert set(patients) == {"train", "valid", "test"}
    assert sum(map(len, patients.values())) == len(set.union(*patients.values())) == 6
    assert all(found == {"0", "1"} for found in labels.values())


def test_metadata_agrees_with_the_files_it_describes(tmp_path: Path) -> None:
    paths = write_phantom_dataset(tmp_path, patients=3, metadata=True)
    with (tmp_path / "metadata.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == METADATA_COLUMNS
    assert {Path(row["split"], row["label"], row["file"]) for row in rows} == {
        path.relative_to(tmp_path) for path in paths
    }
    for row in rows:
        with Image.open(tmp_path / row["split"] / row["label"] / row["file"]) as image:
            inverted = np.median(np.asarray(image.convert("L"))) > 128
        assert inverted == (row["machine_id"] == "29")


def test_metadata_has_the_columns_of_the_real_table(real_dataset: Path) -> None:
    with (real_dataset / "metadata.csv").open(newline="") as stream:
        assert tuple(next(csv.reader(stream))) == METADATA_COLUMNS


@pytest.mark.parametrize("patients", [3, 4, 5, 9])
def test_every_split_has_both_labels(patients: int, tmp_path: Path) -> None:
    write_phantom_dataset(tmp_path, patients=patients)
    for split in ("train", "valid", "test"):
        assert {folder.name for folder in (tmp_path / split).iterdir()} == {"0", "1"}


def test_a_data_set_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    first = write_phantom_dataset(tmp_path / "a", patients=3, seed=5)
    second = write_phantom_dataset(tmp_path / "b", patients=3, seed=5)
    other = write_phantom_dataset(tmp_path / "c", patients=3, seed=6)
    assert [path.name for path in first] == [path.name for path in second]
    assert not {path.name for path in first} & {path.name for path in other}


def test_numbers_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        write_phantoms(tmp_path, 0)
    with pytest.raises(ConfigurationError):
        write_phantom_dataset(tmp_path, patients=2)
    with pytest.raises(ConfigurationError):
        write_phantom_dataset(tmp_path, seed=-1)
    assert not list(tmp_path.iterdir())


def test_an_unwritable_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        write_phantoms(tmp_path / "file" / "folder", 1)


def test_a_full_disk_is_a_storage_error(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "phantom_001_R_CC_mass.jpg").symlink_to("/dev/full")
    with pytest.raises(StorageError):
        write_phantoms(folder, 1)


def test_an_incomplete_image_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError):
        write_phantoms(tmp_path, 1)
    assert not list(tmp_path.iterdir())
