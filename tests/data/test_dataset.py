import os
import shutil
from pathlib import Path

import pytest

from mammoscope.data.dataset import breast_ids, read_dataset, require_both_classes
from mammoscope.errors import (
    DatasetNotFoundError,
    EmptyDatasetError,
    MetadataError,
    SingleClassError,
)
from mammoscope.imaging.mammogram import Laterality, View


def test_a_data_set_in_kaggles_layout(phantom_dataset: Path):
    dataset = read_dataset(phantom_dataset)
    assert dataset.splits == ("train", "valid", "test")
    assert dataset.has_metadata
    assert dataset.patients_known
    files = list(phantom_dataset.rglob("*.jpg"))
    assert len(dataset.examples) == len(files)
    for example in dataset.examples:
        assert example.path.parent.name == str(example.label)
        assert example.path.parent.parent.name == example.split
        assert example.path.name.startswith(f"{example.patient_id}_{example.image_id}_")
        assert example.facts.laterality in Laterality
        assert example.facts.view in View
    assert len(dataset.split("train", "valid")) + len(dataset.split("test")) == len(files)


def test_merging_valid_into_train_moves_no_file(phantom_dataset: Path):
    before = {path: path.stat().st_mtime_ns for path in phantom_dataset.rglob("*")}
    read_dataset(phantom_dataset).split("train", "valid")
    assert {path: path.stat().st_mtime_ns for path in phantom_dataset.rglob("*")} == before


@pytest.fixture
def folder(phantom_folder: Path, tmp_path: Path) -> Path:
    """Two images of each label, without splits, ids or metadata."""
    images = sorted(phantom_folder.iterdir())[:4]
    for i, path in enumerate(images):
        (tmp_path / str(i % 2)).mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / str(i % 2) / f"image-{i}{path.suffix}")
    return tmp_path


def test_without_ids_each_file_is_its_own_patient(folder: Path):
    dataset = read_dataset(folder)
    assert dataset.splits == ()
    assert not dataset.patients_known
    assert len({example.patient_id for example in dataset.examples}) == 4


def test_a_table_names_the_patients(folder: Path, tmp_path: Path):
    table = tmp_path / "patients.csv"
    names = sorted(path.name for path in folder.rglob("image-*"))
    rows = "".join(f"{name},woman-{i // 2},L,CC,61.5,B,1,\n" for i, name in enumerate(names))
    table.write_text("file,patient_id,laterality,view,age,density,BIRADS,invasive\n" + rows)
    dataset = read_dataset(folder, table)
    assert dataset.patients_known
    assert {example.patient_id for example in dataset.examples} == {"woman-0", "woman-1"}
    facts = dataset.examples[0].facts
    assert (facts.laterality, facts.view) == (Laterality.LEFT, View.CRANIO_CAUDAL)
    assert (facts.age, facts.density, facts.birads, facts.invasive) == (61.5, "B", 1, None)


def test_a_row_without_patient_leaves_the_patient_unknown(folder: Path):
    names = sorted(path.name for path in folder.rglob("image-*"))
    (folder / "metadata.csv").write_text(
        "file,patient_id\n" + "".join(f"{name},\n" for name in names)
    )
    assert not read_dataset(folder).patients_known


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("file,view\n", "patient_id"),
        ("file,patient_id\nimage-0.jpg,1\n", "misses an image"),
        ("file,patient_id\na.jpg,1\na.jpg,1\n", "twice"),
        ("file,patient_id,label\n{all},1,7\n", "contradicts the label"),
        ("file,patient_id,laterality\n{all},1,left\n", "not allowed"),
        ("file,patient_id,age\n{all},1,old\n", "not allowed"),
        ("\xff\xfe", "UTF-8"),
    ],
)
def test_tables_that_cannot_be_used(folder: Path, text: str, problem: str):
    lines = text.splitlines()
    if "{all}" in text:
        names = sorted(path.name for path in folder.rglob("image-*"))
        lines = [lines[0], *(lines[1].format(all=name) for name in names)]
    (folder / "metadata.csv").write_bytes("\n".join(lines).encode("latin-1"))
    with pytest.raises(MetadataError, match=problem):
        read_dataset(folder)


def test_folders_that_are_no_data_set(tmp_path: Path):
    with pytest.raises(DatasetNotFoundError):
        read_dataset(tmp_path / "missing")
    with pytest.raises(EmptyDatasetError, match="0/ and 1/"):
        read_dataset(tmp_path)
    (tmp_path / "train" / "0").mkdir(parents=True)
    (tmp_path / "train" / "0" / "notes.txt").write_text("no image")
    with pytest.raises(EmptyDatasetError):
        read_dataset(tmp_path)


def test_a_folder_without_permission(tmp_path: Path, folder: Path):
    """Root may list any folder, so a child process gives its rights up first."""
    (folder / "1").chmod(0o000)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for place in (folder, *folder.parents):
                if place.stat().st_uid == os.getuid() and place != Path("/"):
                    place.chmod(place.stat().st_mode | 0o055)
            if os.getuid() == 0:
                os.setuid(65534)
            try:
                read_dataset(folder)
            except DatasetNotFoundError:
                status = 0
        finally:
            os._exit(status)
    _, result = os.waitpid(child, 0)
    (folder / "1").chmod(0o755)
    assert os.waitstatus_to_exitcode(result) == 0


def test_one_class_only(folder: Path):
    examples = [example for example in read_dataset(folder).examples if example.label == 0]
    with pytest.raises(SingleClassError, match="found: 0"):
        require_both_classes(examples, "training")


def test_breasts_are_told_apart_by_side(phantom_dataset: Path, folder: Path):
    examples = read_dataset(phantom_dataset).examples
    named = breast_ids(examples, [None] * len(examples))
    assert all(name.endswith(("/L", "/R")) for name in named)
    unknown = read_dataset(folder).examples
    by_wall = breast_ids(unknown, ["left", "right", "left", None])
    assert [name.rsplit("/", 1)[1] for name in by_wall] == ["left", "right", "left", "unknown"]
