import os
import shutil
import sys
import unicodedata
from pathlib import Path

import pytest

from mammoscope.data.dataset import (
    breast_ids,
    describe_ignored,
    read_dataset,
    require_both_classes,
    require_both_kinds_of_patients,
)
from mammoscope.data.split_table import read_split, write_split
from mammoscope.errors import (
    DatasetNotFoundError,
    EmptyDatasetError,
    MetadataError,
    SingleClassError,
)
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.phantoms.dicom import write_phantom_study


def test_a_data_set_in_kaggles_layout_is_read(phantom_dataset: Path):
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


def test_without_ids_each_file_counts_as_a_patient(folder: Path):
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


@pytest.mark.parametrize(
    ("header", "values", "patient"),
    [("file,Patient", "{name},7", "7"), ("file,patient,patient_id", "{name},7,8", "8")],
)
def test_patient_means_patient_id_if_there_is_no_such_column(
    folder: Path, header: str, values: str, patient: str
):
    table_of(folder, header, values)
    assert {example.patient_id for example in read_dataset(folder).examples} == {patient}


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
        ("file,patient_id\nimage-0.jpg,1\n", "does not list every image"),
        ("file,patient_id\na.jpg,1\na.jpg,1\n", "name the same file"),
        ("file,patient_id,label\n{all},1,7\n", "contradicts the label"),
        ("file,patient_id,laterality\n{all},1,lefft\n", "Row 2, column laterality: 'lefft'"),
        ("file,patient_id,age\n{all},1,old\n", "Row 2, column age: 'old' is not allowed"),
        ("file,patient_id,age\n{all},1,nan\n", "Row 2, column age: 'nan'"),
        ("file,patient_id\n{all},nan\n", "Row 2, column patient_id: 'nan'"),
        ("file,patient_id\n{all},NULL\n", "Row 2, column patient_id: 'NULL'"),
        ("file,patient_id,age\n{all},1,-inf\n", "Row 2, column age: '-inf'"),
        ("file,patient_id,age\n{all},1,612\n", "from 0 to 130"),
        ("file;patient_id;age\n{all};1;nan\n", "Row 2, column age: 'nan'"),
        ("file,patient_id,BIRADS\n{all},1,inf\n", "Row 2, column birads: 'inf'"),
        ("file,patient_id,BIRADS\n{all},1,7\n", "Row 2, column birads: '7'"),
        ("file,patient_id,invasive\n{all},1,inf\n", "Row 2, column invasive: 'inf'"),
        ("file,patient_id,BIRADS\nelsewhere.jpg,1,inf\n", "Row 2, column birads: 'inf'"),
        ("file,patient_id,implant\n{all},1,2\n", "Row 2, column implant: '2'"),
        ("file,patient_id\n{all},1,L\n", "Row 2 has 3 values for 2 columns"),
        ("file,patient_id\n,1\n", "Row 2, column file: ''"),
        ("file,Patient ID,patient_id\n", "patient_id twice"),
        ("file,patient_id\n{all},\xe4\n", "row 2"),
        ("\xff\xfe", "UTF-8"),
        ("f\0i\0l\0e\0,\0p\0a\0t\0i\0e\0n\0t\0_\0i\0d\0", "null characters"),
        ('file,patient_id\n"image-0.jpg,1\nimage-1.jpg,2\n', "quotation mark"),
    ],
)
def test_invalid_tables_are_refused(folder: Path, text: str, problem: str):
    lines = text.splitlines()
    if "{all}" in text:
        names = sorted(path.name for path in folder.rglob("image-*"))
        lines = [lines[0], *(lines[1].format(all=name) for name in names)]
    (folder / "metadata.csv").write_bytes("\n".join(lines).encode("latin-1"))
    with pytest.raises(MetadataError, match=problem):
        read_dataset(folder)


def table_of(folder: Path, header: str, values: str, *, encoding: str = "utf-8") -> None:
    """Write a table with the same values for each image."""
    names = sorted(path.name for path in folder.rglob("image-*"))
    lines = [header, *(values.format(name=name) for name in names)]
    (folder / "metadata.csv").write_bytes("\r\n".join(lines).encode(encoding))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_from_spreadsheets_are_read(folder: Path, separator: str, encoding: str):
    header = ["File", "Patient_ID", "Laterality", "view", "BI-RADS", "invasive", "site id", "Age"]
    age = "61.5" if separator == "," else "61,5"
    values = ["{name}", " 7 ", "Left", "cc", "4A", "yes", "x", age]
    table_of(folder, separator.join(header), separator.join(values), encoding=encoding)
    dataset = read_dataset(folder)
    assert {example.patient_id for example in dataset.examples} == {"7"}
    for example in dataset.examples:
        facts = example.facts
        assert (facts.laterality, facts.view) == (Laterality.LEFT, View.CRANIO_CAUDAL)
        assert (facts.birads, facts.invasive, facts.site_id) == (4, True, "x")
        assert facts.age == 61.5


@pytest.mark.parametrize("header", ["patient_id", "PatientID", "patient id", "PATIENT-ID"])
def test_columns_may_be_spelt_in_several_ways(folder: Path, header: str):
    table_of(folder, f"sep=;\r\nfile;{header};", r"0\{name};1;")
    assert read_dataset(folder).patients_known


@pytest.mark.parametrize(
    ("word", "side"),
    [("L", "L"), ("r", "R"), ("left", "L"), ("RIGHT", "R"), (" Right ", "R"), ("", None)],
)
def test_words_for_the_side_are_recognised(folder: Path, word: str, side: str | None):
    table_of(folder, "file,patient_id,laterality", "{name},1," + word)
    assert {example.facts.laterality for example in read_dataset(folder).examples} == {side}


def copies(phantom_folder: Path, root: Path, *places: str) -> None:
    images = sorted(phantom_folder.iterdir())
    for image, place in zip(images * len(places), places, strict=False):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, root / place)


def test_a_table_names_files_by_their_paths(phantom_folder: Path, tmp_path: Path):
    copies(phantom_folder, tmp_path, "train/0/a.jpg", "train/1/a.jpg", "test/0/a.jpg")
    rows = ["file,patient_id", "train/0/a.jpg,1", r"train\1\a.jpg,2", "./test/0/a.jpg,3"]
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    examples = read_dataset(tmp_path).examples
    assert [(e.split, e.label, e.patient_id) for e in examples] == [
        ("train", 0, "1"),
        ("train", 1, "2"),
        ("test", 0, "3"),
    ]
    assert [e.name for e in examples] == ["train/0/a.jpg", "train/1/a.jpg", "test/0/a.jpg"]
    write_split(tmp_path, {"train": examples[:2], "test": examples[2:]})
    assert [(row.file, row.part) for row in read_split(tmp_path)] == [
        ("train/0/a.jpg", "train"),
        ("train/1/a.jpg", "train"),
        ("test/0/a.jpg", "test"),
    ]
    (tmp_path / "metadata.csv").write_text("\n".join(rows[:3]))
    with pytest.raises(MetadataError, match="1 of 3 images"):
        read_dataset(tmp_path)


def labelled_table(folder: Path, labels: list[str]) -> list[Path]:
    """Move all images into one folder, and write their labels into a table."""
    images = sorted(folder.glob("[01]/*"))
    (folder / "all").mkdir()
    moved = sorted(path.rename(folder / "all" / path.name) for path in images)
    rows = [f"{path.name},,{label}" for path, label in zip(moved, labels, strict=True)]
    (folder / "metadata.csv").write_text("\n".join(["file,patient_id,label", *rows]) + "\n")
    return moved


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["0", "1", "1", "0"], ("0", "1")),
        (["0.0", "1.0", "1.0", "0.0"], ("0", "1")),
        (["benign", "Malignant", "1", "0"], ("benign", "malignant")),
    ],
)
def test_a_table_may_have_the_labels(folder: Path, labels: list[str], names: tuple[str, str]):
    images = labelled_table(folder, labels)
    dataset = read_dataset(folder, labels=names)
    assert [each.label for each in dataset.examples] == [0, 0, 1, 1]
    assert [each.path for each in dataset.examples] == [images[i] for i in (0, 3, 1, 2)]
    assert dataset.splits == ()
    assert not dataset.ignored
    assert len({each.patient_id for each in dataset.examples}) == 4
    for image in images:  # nor does the folder's depth matter
        image.rename(folder / image.name)
    assert len({each.patient_id for each in read_dataset(folder, labels=names).examples}) == 4


def test_a_table_with_labels_must_have_one_for_each_image(folder: Path):
    labelled_table(folder, ["0", "1", "", "0"])
    with pytest.raises(MetadataError, match="column label: '' is not allowed; it must be 0 or 1"):
        read_dataset(folder)
    with pytest.raises(MetadataError, match="0 or 1, benign or malignant"):
        read_dataset(folder, labels=("benign", "malignant"))
    text = (folder / "metadata.csv").read_text().splitlines()
    (folder / "metadata.csv").write_text("\n".join(text[:-2]) + "\n")
    with pytest.raises(MetadataError, match="2 of 4 images have no row"):
        read_dataset(folder)
    (folder / "metadata.csv").write_text("file,patient_id\nimage-0.png,\n")
    with pytest.raises(EmptyDatasetError, match="no table with the column label"):
        read_dataset(folder)


def test_folders_with_other_names_are_read(phantom_folder: Path, tmp_path: Path):
    places = (
        "TRAIN/Benign/woman/a.jpg", "TRAIN/malignant/b.jpg", "val/benign/a.jpg",
        "validation/MALIGNANT/deep/er/a.jpg", "testing/benign/a.jpg", "train/unknown/a.jpg",
        "a.jpg", "benign/a.jpg",
    )  # fmt: skip
    copies(phantom_folder, tmp_path, *places)
    dataset = read_dataset(tmp_path, labels=("benign", "malignant"))
    assert [(e.split, e.label) for e in dataset.examples] == [
        ("train", 0), ("train", 1), ("valid", 0), ("valid", 1), ("test", 0),
    ]  # fmt: skip
    assert len({example.patient_id for example in dataset.examples}) == 5
    assert dataset.ignored == {".": 1, "benign": 1, "train/unknown": 1}
    (sentence,) = describe_ignored(dataset.ignored)
    assert sentence.startswith(
        "Ignored 3 images outside the label folders (1 in ./, 1 in benign/, 1 in train/unknown/). "
    )
    (one_folder,) = describe_ignored({"samples": 2})
    assert "Ignored 2 images outside the label folders (in samples/)." in one_folder
    with pytest.raises(EmptyDatasetError, match=r"1 in val/benign/.*--labels"):
        read_dataset(tmp_path)


def test_system_files_are_not_images(phantom_folder: Path, tmp_path: Path):
    places = (
        "0/a.jpg", "1/b.jpg", "0/._a.jpg", "0/.hidden.png", "0/__MACOSX/c.jpg", "__MACOSX/0/a.jpg",
        ".cache/0/a.jpg", "0/Thumbs.db",
    )  # fmt: skip
    copies(phantom_folder, tmp_path, *places)
    write_phantom_study(tmp_path / "study", seed=1)
    for number, path in enumerate(sorted((tmp_path / "study").iterdir())):
        path.rename(tmp_path / "1" / ("IM0001", "1.2.840.1", "DICOMDIR", "note.txt")[number])
    (tmp_path / "0" / "README").write_text("no image")
    (tmp_path / "0" / "loop").symlink_to(tmp_path)
    (tmp_path / "1" / "more").symlink_to(phantom_folder)
    dataset = read_dataset(tmp_path)
    names = {path.name for path in phantom_folder.iterdir()}
    assert {e.path.name for e in dataset.examples} == {
        "a.jpg", "b.jpg", "IM0001", "1.2.840.1", *names,
    }  # fmt: skip
    assert dataset.ignored == {}


@pytest.mark.parametrize("name", ["a.IMA", "1.2.840.113619.MG", "a.dic", "a.dc3", "a.img"])
def test_dicom_files_may_have_other_suffixes(tmp_path: Path, name: str):
    for folder in ("0", "1"):
        write_phantom_study(tmp_path / folder, seed=1)
    found = len(read_dataset(tmp_path).examples)
    file = next((tmp_path / "0").iterdir())
    (tmp_path / "1" / f"disk {name}").write_text("another kind of file with this suffix")
    file.rename(file.with_name(name))
    dataset = read_dataset(tmp_path)
    assert len(dataset.examples) == found
    assert name in {each.path.name for each in dataset.examples}


@pytest.mark.parametrize("name", ["a.jfif", "a.JPE", "a.Jpeg"])
def test_jpeg_files_may_have_other_suffixes(phantom_folder: Path, tmp_path: Path, name: str):
    copies(phantom_folder, tmp_path, f"0/{name}", "1/b.jpg")
    assert [each.path.name for each in read_dataset(tmp_path).examples] == [name, "b.jpg"]


@pytest.mark.parametrize(("disk", "typed"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_match_however_their_letters_are_composed(
    phantom_folder: Path, tmp_path: Path, disk: str, typed: str
):
    places = (unicodedata.normalize(disk, name) for name in ("bénin/é.jpg", "malin/b.jpg"))
    copies(phantom_folder, tmp_path, *places)
    table = unicodedata.normalize(typed, "file,patient_id\né.jpg,1\nb.jpg,2\n")
    (tmp_path / "metadata.csv").write_text(table)
    dataset = read_dataset(tmp_path, labels=(unicodedata.normalize(typed, "bénin"), "malin"))
    assert [(each.label, each.patient_id) for each in dataset.examples] == [(0, "1"), (1, "2")]


def test_the_table_is_found_however_its_name_is_capitalised(folder: Path):
    (folder / "Metadata.CSV").write_text("file,patient_id\n")
    with pytest.raises(MetadataError, match="no row"):
        read_dataset(folder)
    (folder / "Metadata.CSV").unlink()
    (folder / "metadata.csv").symlink_to("moved.csv")
    with pytest.raises(MetadataError, match="cannot be read"):
        read_dataset(folder)


@pytest.mark.parametrize("folder", ["@eaDir/a.jpg", "#recycle", "$RECYCLE.BIN/S-1-5"])
def test_thumbnails_and_deleted_files_of_storage_are_left_out(
    phantom_folder: Path, tmp_path: Path, folder: str
):
    copies(phantom_folder, tmp_path, "0/a.jpg", "1/b.jpg", f"0/{folder}/thumbnail.jpg")
    dataset = read_dataset(tmp_path)
    assert [each.path.name for each in dataset.examples] == ["a.jpg", "b.jpg"]
    assert dataset.ignored == {}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_pipes_and_links_to_themselves_hide_no_images(phantom_folder: Path, tmp_path: Path):
    copies(phantom_folder, tmp_path, "0/a.jpg", "0/z.jpg", "1/b.jpg")
    for name in ("pipe", "pipe.jpg"):
        os.mkfifo(tmp_path / "0" / name)
    (tmp_path / "0" / "loop").symlink_to("loop")
    (tmp_path / "0" / "missing").symlink_to("nowhere")
    dataset = read_dataset(tmp_path)
    assert [each.path.name for each in dataset.examples] == ["a.jpg", "z.jpg", "b.jpg"]


def test_folders_without_a_data_set_are_refused(tmp_path: Path):
    with pytest.raises(DatasetNotFoundError):
        read_dataset(tmp_path / "missing")
    with pytest.raises(EmptyDatasetError, match="0/ and 1/"):
        read_dataset(tmp_path)
    (tmp_path / "train" / "0").mkdir(parents=True)
    (tmp_path / "train" / "0" / "notes.txt").write_text("no image")
    with pytest.raises(EmptyDatasetError):
        read_dataset(tmp_path)


def test_a_folder_without_permission_is_reported(tmp_path: Path, folder: Path):
    """Root may list any folder, so a child process drops its privileges first."""
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


def test_a_single_class_is_refused(folder: Path):
    examples = [example for example in read_dataset(folder).examples if example.label == 0]
    with pytest.raises(SingleClassError, match="found: 0"):
        require_both_classes(examples, "training")


def test_patients_of_a_single_class_are_refused(phantom_dataset: Path):
    examples = read_dataset(phantom_dataset).examples
    require_both_kinds_of_patients(examples, "validation")
    sick = {each.patient_id for each in examples if each.label == 1}
    assert any(each.label == 0 for each in examples if each.patient_id in sick)
    for kind, said in ((True, "have a tumour"), (False, "have no tumour")):
        alike = [each for each in examples if (each.patient_id in sick) is kind]
        with pytest.raises(SingleClassError, match=f"All patients for validation {said}"):
            require_both_kinds_of_patients(alike, "validation")


def test_breasts_are_told_apart_by_side(phantom_dataset: Path, folder: Path):
    examples = read_dataset(phantom_dataset).examples
    named = breast_ids(examples, [None] * len(examples))
    assert all(name.endswith(("/L", "/R")) for name in named)
    unknown = read_dataset(folder).examples
    by_wall = breast_ids(unknown, ["left", "right", "left", None])
    assert [name.rsplit("/", 1)[1] for name in by_wall] == ["left", "right", "left", "unknown"]
