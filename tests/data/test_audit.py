"""The audit reports content, duplicates and leaks."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from mammoscope.data.audit import AuditReport, audit
from mammoscope.data.dataset import read_dataset
from mammoscope.data.duplicates import (
    HASH_BITS,
    NEAR_DISTANCE,
    SAME_IMAGE_DISTANCE,
    find_near_pairs,
    perceptual_hash,
)
from mammoscope.imaging.mammogram import Laterality
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.reading import read
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom

SIDES = {"L": Laterality.LEFT, "R": Laterality.RIGHT}


def grey(seed: int, side: str = "L") -> Image.Image:
    config = PhantomConfig(seed, SIDES[side], height=320, width=260)
    return Image.fromarray((draw_phantom(config).pixels * 255).astype(np.uint8))


def encode(image: Image.Image, image_format: str = "JPEG", quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, quality=quality)
    return buffer.getvalue()


def name(patient: int, image: int) -> str:
    return f"{patient}_{image}_png.rf.{image:032x}.jpg"


def report_on(folder: Path, files: dict[str, bytes]) -> AuditReport:
    for relative, data in files.items():
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        (folder / relative).write_bytes(data)
    return audit(read_dataset(folder))


def clean_files() -> dict[str, bytes]:
    """Four patients, two in train and one each in valid and test; one breast per patient."""
    places = ("train/0", "train/1", "valid/1", "test/0")
    return {
        f"{place}/{name(10 + i, 100 + i)}": encode(grey(i, "LR"[i % 2]))
        for i, place in enumerate(places)
    }


def test_a_clean_data_set_passes(tmp_path: Path) -> None:
    report = report_on(tmp_path, clean_files())
    assert report.passed
    assert report.leaks.excluded
    assert report.pictures == 4
    assert report.splits["train"].pictures == 2
    assert (report.splits["valid"].no_tumour, report.splits["valid"].tumour) == (0, 1)
    assert (report.merged["train"].no_tumour, report.merged["train"].tumour) == (1, 2)
    assert "valid" not in report.merged
    assert report.merged["train"].patients == 3
    assert report.sizes == {"260x320": 4}
    assert report.modes == {"L": 4}
    assert report.formats == {"JPEG": 4}
    assert report.refused == report.same_pictures == report.conflicts == ()
    assert report.near_duplicates.pairs == report.inverted.pictures == 0
    assert (report.patients.count, report.patients.pictures_without) == (4, 0)
    assert (report.breasts.count, report.breasts.by_chest_wall) == (4, 4)


def test_keys_of_the_json_are_stable(tmp_path: Path) -> None:
    document = json.loads(json.dumps(report_on(tmp_path, clean_files()).to_json()))
    assert set(document) == {
        "pictures", "splits", "merged", "sizes", "modes", "formats", "refused", "same_pictures",
        "near_duplicates", "conflicts", "inverted", "patients", "breasts", "leaks", "passed",
    }  # fmt: skip
    assert set(document["splits"]["train"]) == {"pictures", "no_tumour", "tumour", "patients"}
    assert set(document["near_duplicates"]) == {
        "max_distance", "bits", "complete", "pairs", "same_patient", "other_patient",
        "across_splits", "listed",
    }  # fmt: skip
    assert set(document["leaks"]) == {"patients", "pictures", "excluded"}


def test_a_patient_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    files = clean_files() | {f"test/0/{name(10, 200)}": encode(grey(50, "R"))}
    report = report_on(tmp_path, files)
    assert not report.passed
    assert not report.leaks.excluded
    assert [leak.patient_id for leak in report.leaks.patients] == ["10"]
    assert report.leaks.patients[0].splits == {"train": 1, "test": 1}
    assert report.leaks.pictures == report.conflicts == ()


def test_the_same_bytes_in_two_splits_are_a_leak_without_any_patient(tmp_path: Path) -> None:
    data = encode(grey(1))
    report = report_on(
        tmp_path,
        {"train/1/a.jpg": data, "test/1/b.jpg": data, "test/0/c.jpg": encode(grey(2))},
    )
    assert not report.passed
    (group,) = report.leaks.pictures
    assert group.files == ("train/1/a.jpg", "test/1/b.jpg")
    assert group.distance is None
    assert report.conflicts == ()
    assert report.near_duplicates.pairs == 0


def test_copies_with_both_labels_are_a_conflict(tmp_path: Path) -> None:
    image = grey(1)
    report = report_on(
        tmp_path,
        {
            f"0/{name(1, 1)}": encode(image),
            f"1/{name(1, 2)}": encode(image),
            f"1/{name(1, 3)}": encode(image, quality=40),
            f"1/{name(2, 4)}": encode(grey(2)),
        },
    )
    assert not report.passed
    exact, resaved = report.conflicts
    assert exact.distance is None
    assert exact.labels == resaved.labels == (0, 1)
    assert resaved.distance is not None
    assert resaved.distance <= SAME_IMAGE_DISTANCE
    assert report.leaks.excluded
    assert report.breasts.both_labels == 1
    assert set(report.splits) == {"all"}


def test_two_exposures_of_a_breast_are_neither_leak_nor_conflict(tmp_path: Path) -> None:
    report = report_on(
        tmp_path,
        {f"0/{name(1, 1)}": encode(grey(1)), f"1/{name(1, 2)}": encode(grey(1, "R"))},
    )
    assert report.passed
    assert report.breasts.count == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda image: encode(image, quality=40),
        lambda image: encode(image.resize((200, 200), Image.Resampling.LANCZOS)),
        lambda image: encode(image.convert("RGB"), "PNG"),
        lambda image: encode(ImageOps.invert(image)),
        lambda image: encode(ImageOps.mirror(image)),
        lambda image: encode(image.point(lambda value: 0.6 * value)),
    ],
    ids=["recompressed", "stretched", "png", "inverted", "mirrored", "darkened"],
)
def test_changed_copies_across_splits_are_found(change, tmp_path: Path) -> None:
    image = grey(3)
    files = clean_files() | {
        f"train/0/{name(70, 1)}": encode(image),
        f"test/0/{name(71, 2)}": change(image),
    }
    report = report_on(tmp_path, files)
    (pair,) = [pair for pair in report.near_duplicates.listed if not pair.same_split]
    assert {Path(file).name for file in pair.files} == {name(70, 1), name(71, 2)}
    assert not pair.same_patient
    assert report.near_duplicates.across_splits == report.near_duplicates.other_patient == 1


def test_images_of_different_women_are_not_duplicates() -> None:
    hashes = []
    for seed in range(60):
        mammogram = read(encode(grey(seed)))
        preprocessed = preprocess(mammogram, (96, 72))
        hashes.append(
            perceptual_hash(
                mammogram.pixels, inverted=preprocessed.inverted, mirrored=preprocessed.mirrored
            )
        )
    assert len(find_near_pairs(np.array(hashes), NEAR_DISTANCE).pairs) == 0


def test_unusable_files_are_listed_with_their_reason(tmp_path: Path) -> None:
    whole = encode(grey(1))
    files = clean_files() | {
        "train/0/text.jpg": b"not an image at all",
        "train/0/empty.jpg": b"",
        "train/0/short.jpg": whole[: len(whole) // 3],
        "train/0/blank.png": encode(Image.new("L", (200, 200)), "PNG"),
    }
    (tmp_path / "test" / "1").mkdir(parents=True)
    os.mkfifo(tmp_path / "test" / "1" / "pipe.jpg")  # left out
    report = report_on(tmp_path, files)
    assert {Path(refused.file).name: refused.code for refused in report.refused} == {
        "text.jpg": "unsupported_image",
        "empty.jpg": "empty_image",
        "short.jpg": "corrupt_image",
        "blank.png": "no_breast",
    }
    assert report.pictures == 8
    assert report.sizes == {"260x320": 4, "200x200": 1}


def test_unknown_patients_are_counted_as_unknown(tmp_path: Path) -> None:
    report = report_on(
        tmp_path, {f"{place}/same name.jpg": encode(grey(i)) for i, place in enumerate("01")}
    )
    assert report.passed
    assert not report.leaks.excluded
    assert (report.patients.count, report.patients.pictures_without) == (0, 2)
    assert report.breasts.count == 0


def test_the_phantom_data_set_is_as_documented(phantom_dataset: Path) -> None:
    report = audit(read_dataset(phantom_dataset))
    assert report.passed
    assert report.leaks.excluded
    assert report.pictures == 48
    assert report.refused == ()
    assert (report.patients.count, report.breasts.count) == (12, 24)
    assert report.breasts.both_labels == 0
    assert report.inverted.by_machine["29"].inverted == report.inverted.by_machine["29"].pictures
    assert report.inverted.by_machine["49"].inverted == 0


def test_without_metadata_the_chest_wall_gives_the_same_breasts(
    phantom_dataset: Path, tmp_path: Path
) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / split).symlink_to(phantom_dataset / split)
    report = audit(read_dataset(tmp_path))
    assert report.breasts.by_chest_wall == 48
    assert (report.breasts.count, report.breasts.both_labels) == (24, 0)
    assert report.inverted.by_machine == {}


def test_facts_of_the_real_data_set(real_dataset: Path, tmp_path: Path) -> None:
    """The real test split has 340 images of 95 patients; else phantoms are used."""
    (tmp_path / "test").symlink_to(real_dataset / "test")
    report = audit(read_dataset(tmp_path, real_dataset / "metadata.csv"))
    assert report.passed
    assert report.breasts.both_labels == 0
    machines = report.inverted.by_machine
    assert all(machines[one].inverted == machines[one].pictures for one in {"29"} & set(machines))
    assert all(machines[one].inverted == 0 for one in {"49", "48", "21"} & set(machines))
    assert report.sizes == {"640x640": report.pictures}
    assert report.modes == {"RGB": report.pictures}


def test_on_image_is_called_for_each(tmp_path: Path) -> None:
    calls: list[None] = []
    report_on(tmp_path, clean_files())
    audit(read_dataset(tmp_path), lambda: calls.append(None))
    assert len(calls) == 4


hash_arrays = st.integers(0, 40).flatmap(
    lambda count: st.lists(
        st.lists(st.integers(0, 2**64 - 1), min_size=4, max_size=4),
        min_size=count,
        max_size=count,
    )
)


@settings(max_examples=50, deadline=None)
@given(hash_arrays, st.integers(0, HASH_BITS), st.integers(0, 10))
def test_near_pairs_agree_with_counting_bits(
    rows: list[list[int]], max_distance: int, copies: int
) -> None:
    rows = rows + rows[:copies]
    hashes = np.array(rows, np.uint64).reshape(len(rows), 4)
    wide = [sum(word << (64 * i) for i, word in enumerate(row)) for row in rows]
    expected = {
        (i, j): (wide[i] ^ wide[j]).bit_count()
        for i in range(len(wide))
        for j in range(i + 1, len(wide))
        if (wide[i] ^ wide[j]).bit_count() <= max_distance
    }
    near = find_near_pairs(hashes, max_distance)
    found = dict(zip(map(tuple, near.pairs.tolist()), near.distances.tolist(), strict=True))
    assert near.complete
    assert found == expected
    assert sorted(near.distances.tolist()) == near.distances.tolist()


def test_near_pairs_are_found_across_tiles() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, (5000, 4), dtype=np.uint64)
    hashes[4999] = hashes[3] ^ np.uint64(1)
    hashes[2048] = hashes[255]
    near = find_near_pairs(hashes, NEAR_DISTANCE)
    assert near.pairs.tolist() == [[255, 2048], [3, 4999]]
    assert near.distances.tolist() == [0, 4]


def test_too_many_near_pairs_stop_the_search() -> None:
    near = find_near_pairs(np.zeros((3000, 4), np.uint64), NEAR_DISTANCE, max_pairs=10_000)
    assert not near.complete
    assert len(near.pairs) == 10_000
