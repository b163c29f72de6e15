"""What an actor writes for a shard, without Ray."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from mammoscope.__main__ import main
from mammoscope.bulk.dataset import Store
from mammoscope.bulk.levels import aggregate_division
from mammoscope.bulk.predictor import BulkJob, Predictor
from mammoscope.bulk.shards import Shard, cut
from mammoscope.bulk.sources import open_source
from mammoscope.errors import ArtifactMismatchError, ConfigurationError, StorageError
from mammoscope.model.artifact.folder import load_artifact
from mammoscope.phantoms.dicom import write_phantom_study
from tests.fake_engine import FakeEngine, FakeReader, encoded
from tests.full_disk import FullDisk

KEY = bytes(range(32))
IDENTIFIERS = ("Doe^Jane", "jane_doe")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, phantom_folder: Path) -> Path:
    """Two studies, a file twice, a bad file; a name in every path."""
    folder = tmp_path_factory.mktemp("archive") / "jane_doe"
    for seed in (0, 1):
        (folder / str(seed)).mkdir(parents=True)
        write_phantom_study(folder / str(seed), seed=seed)
    image = min(phantom_folder.glob("*.jpg"))
    shutil.copy(image, folder / "first.jpg")
    shutil.copy(image, folder / "again.jpg")
    (folder / "bad.png").write_bytes(b"no image")
    (folder / "empty.dcm").touch()
    return folder


@pytest.fixture(scope="module")
def job(archive: Path, compiled_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> BulkJob:
    output = tmp_path_factory.mktemp("out") / "predictions"
    return BulkJob(str(archive), str(output), compiled_folder, "default", KEY)


@pytest.fixture(scope="module")
def rows(job: BulkJob) -> list[dict[str, Any]]:
    """Rows of all levels, as any reader of Parquet sees them."""
    shards = list(cut(open_source(job.source).entries(), lambda: 6))
    assert len(shards) > 1
    with Predictor(job) as predictor:
        for shard in shards:
            predictor.predict(shard)
    store = Store(job.output)
    card = load_artifact(job.model).require_card()
    for index in range(2):
        aggregate_division(store, card, "default", index, 2)
    table: list[dict[str, Any]] = pyarrow.parquet.read_table(job.output).to_pylist()
    return table


def of_level(rows: list[dict[str, Any]], level: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["level"] == level]


def test_rows_are_those_of_predict(
    rows: list[dict[str, Any]], job: BulkJob, tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(KEY)
    line = f"predict --study --model {job.model} --id-key {tmp_path / 'key'} --json"
    main([*line.split(), str(tmp_path / "study.json"), job.source])
    study = json.loads((tmp_path / "study.json").read_text())
    for level, among in (("image", "images"), ("breast", "breasts"), ("patient", "patients")):
        ours = of_level(rows, level)
        assert len(ours) == len(study[among]) > 0
        keys = set(study[among][0]) - {"file", "pictures"}
        wanted = [{key: each.get(key) for key in keys} for each in study[among]]
        found = [{key: row[key] for key in keys} for row in ours]
        # Equal to the last bit: no tolerance.
        assert sorted(map(repr_of, found)) == sorted(map(repr_of, wanted))


def repr_of(row: dict[str, Any]) -> str:
    return repr(sorted((key, value or None) for key, value in row.items()))


def test_names_that_are_no_text_are_written_as_text(
    phantom_folder: Path, compiled_folder: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    image = min(phantom_folder.glob("*.jpg"))
    shutil.copy(image, os.fsencode(images) + b"/a\xff\xc3\xa9.jpg")
    job = BulkJob(str(images), str(tmp_path / "out"), compiled_folder, "default", KEY, True)
    with Predictor(job) as predictor:
        (shard,) = cut(open_source(job.source).entries(), lambda: 6)
        part = predictor.predict(shard)
    assert (part.rows, part.refused) == (1, 0)
    table = pyarrow.parquet.read_table(tmp_path / "out" / "level=image" / part.name)
    assert table["file"].to_pylist() == ["a\\xff\N{LATIN SMALL LETTER E WITH ACUTE}.jpg"]


def test_equal_files_are_two_rows_with_one_content(rows: list[dict[str, Any]]) -> None:
    images = of_level(rows, "image")
    assert len({row["file"] for row in images}) == len(images) == 12
    assert len({row["content"] for row in images}) == 11


def test_a_bad_file_is_a_row_with_its_error(rows: list[dict[str, Any]]) -> None:
    errors = [row["error"] for row in of_level(rows, "image") if row["error"]]
    assert sorted(error["code"] for error in errors) == ["empty_image", "unsupported_image"]
    assert all(error["message"] for error in errors)


def test_the_output_names_nobody(rows: list[dict[str, Any]], job: BulkJob, archive: Path) -> None:
    written = b"".join(path.read_bytes() for path in Path(job.output).rglob("*") if path.is_file())
    text = repr(rows).encode() + written
    names = [path.name for path in archive.rglob("*.*")]
    digests = [
        hashlib.sha256(p.read_bytes()).hexdigest() for p in archive.rglob("*") if p.is_file()
    ]
    for word in (*IDENTIFIERS, *names, *digests):
        assert word.encode() not in text


def predicted(job: BulkJob, *files: Path, **engine: Any) -> list[dict[str, Any]]:
    """Rows of one shard with an engine of a test."""
    predictor = Predictor(job, lambda _: (FakeEngine(), FakeReader()))
    for name, value in engine.items():
        setattr(predictor._engine, name, value)
    entries = tuple(open_source(job.source).entries())
    part = predictor.predict(Shard("part-one.parquet", entries))
    assert part.rows == len(entries)
    store = Store(job.output)
    assert store.part("image", "part-one.parquet") == part
    dataset = store.rows("image")
    assert dataset is not None
    found: list[dict[str, Any]] = dataset.to_table().to_pylist()
    return found


@pytest.fixture
def small(tmp_path: Path) -> BulkJob:
    """A manifest of one image, of a named patient."""
    (tmp_path / "jane_doe.png").write_bytes(encoded())
    (tmp_path / "list.csv").write_text("file,patient_id,laterality\njane_doe.png,Doe^Jane,L\n")
    source, output = tmp_path / "list.csv", tmp_path / "out"
    return BulkJob(str(source), str(output), tmp_path, "default", KEY)


def test_a_manifests_patient_is_a_pseudonym(small: BulkJob) -> None:
    (row,) = predicted(small)
    assert (row["laterality"], len(row["patient"])) == ("L", 16)
    assert not any(name in repr(row) for name in IDENTIFIERS)


def test_identifiers_are_kept_if_asked(small: BulkJob) -> None:
    job = BulkJob(small.source, small.output, small.model, "default", KEY, identifiers=True)
    (row,) = predicted(job)
    assert (row["file"], row["patient"]) == ("jane_doe.png", "Doe^Jane")
    assert row["content"] == hashlib.sha256(encoded()).hexdigest()


def test_an_unexpected_error_is_a_row_and_tried_again(small: BulkJob) -> None:
    (row,) = predicted(small, failure=RuntimeError("secret of a library"))
    assert row["error"]["code"] == "internal_error"
    assert "secret" not in repr(row)
    part = Store(small.output).part("image", "part-one.parquet")
    assert part is not None
    assert (part.refused, part.unread) == (1, 1)


def test_another_network_is_not_used(small: BulkJob) -> None:
    with pytest.raises(ArtifactMismatchError, match="differs between the machines"):
        Predictor(small, lambda _: (FakeEngine(), FakeReader()), network="1" * 64)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_full_disk_leaves_no_part(
    small: BulkJob, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    FullDisk(monkeypatch).left = step
    with pytest.raises(StorageError, match="cannot be written"):
        predicted(small)
    assert [path for path in Path(small.output).rglob("*") if path.is_file()] == []


def test_a_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ConfigurationError, match="other files"):
        Store(str(tmp_path)).origin()


@pytest.mark.parametrize("text", ["{}", "[]", "nonsense", '{"schema": 99}'])
def test_a_damaged_description_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "_origin.json").write_text(text)
    with pytest.raises(ConfigurationError):
        Store(str(tmp_path)).origin()


def test_a_cut_part_does_not_count(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    part = store.write_part("image", "part-a.parquet", [{"file": "x", "warnings": []}])
    assert store.part("image", "part-a.parquet") == part
    path = tmp_path / "level=image" / "part-a.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    assert store.part("image", "part-a.parquet") is None


def test_superseded_parts_are_removed(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for name in ("part-a.parquet", "part-b.parquet"):
        store.write_part("image", name, [])
    assert store.keep_only("image", ["part-b.parquet"]) == 1
    assert store.parts("image") == ["part-b.parquet"]


def test_columns_are_those_of_predict() -> None:
    from mammoscope.bulk.dataset import COLUMNS
    from mammoscope.studies import COLUMNS as PREDICTED

    assert isinstance(COLUMNS, pa.Schema)
    assert set(PREDICTED) - {"pictures", "level"} <= set(COLUMNS.names)
