"""Sources list the images that `predict` finds, and read their bytes."""

import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet
import pytest

from mammoscope.bulk.sources import Entry, connect, open_source
from mammoscope.errors import MetadataError, UnreadableFileError, UsageError
from mammoscope.imaging.image_files import walk_images
from mammoscope.settings.service import ReadingLimits
from mammoscope.studies import Placement

DICOM = bytes(128) + b"DICM" + bytes(8)
FILES = {
    "b.jpg": b"second",
    "a.PNG": b"first",
    "notes.txt": b"no image",
    ".hidden.jpg": b"hidden",
    "patient/IM0001": DICOM,
    "patient/README": b"no image",
    "patient/late/c.tif": b"third",
    "__MACOSX/b.jpg": b"added by a system",
}
FOUND = ["a.PNG", "b.jpg", "patient/IM0001", "patient/late/c.tif"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def archives(tmp_path: Path, tree: Path) -> dict[str, str]:
    """The same files as zip, tar, memory and folder."""
    shutil.make_archive(str(tmp_path / "files"), "zip", tree)
    shutil.make_archive(str(tmp_path / "files"), "tar", tree)
    memory = fsspec.filesystem("memory")
    memory.put(f"{tree}/", "/bucket/tree/", recursive=True)
    return {
        "folder": str(tree),
        "zip": str(tmp_path / "files.zip"),
        "tar": str(tmp_path / "files.tar"),
        "memory": "memory://bucket/tree",
    }


def listed(source: str) -> dict[str, bytes]:
    opened = open_source(source)
    return {entry.name: opened.read(entry) for entry in opened.entries()}


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "memory"])
def test_every_source_finds_the_images_of_a_folder(archives: dict[str, str], kind: str) -> None:
    found = listed(archives[kind])
    assert found == {name: FILES[name] for name in FOUND}
    if kind in ("folder", "memory"):
        walked = walk_images(Path(archives["folder"]), pytest.fail)
        assert list(found) == [str(path.relative_to(archives["folder"])) for path in walked]


@pytest.fixture(scope="module")
def bucket(tree: Path, s3: None) -> str:
    files, _ = pyarrow.fs.FileSystem.from_uri("s3://archive?allow_bucket_creation=true")
    files.create_dir("archive")
    pyarrow.fs.copy_files(str(tree), "archive/tree", destination_filesystem=files)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inside.jpg", b"zipped")
    with files.open_output_stream("archive/files.zip") as stream:
        stream.write(packed.getvalue())
    return "s3://archive"


def test_s3_finds_the_images_of_a_folder(bucket: str) -> None:
    found = listed(f"{bucket}/tree")
    assert found == {name: FILES[name] for name in FOUND}
    assert list(found) == FOUND
    assert listed(f"{bucket}/tree/*.jpg") == {"b.jpg": b"second"}
    assert listed(f"{bucket}/tree/b.jpg") == {"b.jpg": b"second"}
    assert listed(f"{bucket}/files.zip") == {"inside.jpg": b"zipped"}
    with pytest.raises(UnreadableFileError, match="nothing at SOURCE"):
        listed(f"{bucket}/other")


def test_a_changed_object_has_another_state(bucket: str) -> None:
    def state() -> set[tuple[int, str]]:
        return {(entry.size, entry.state) for entry in open_source(f"{bucket}/new").entries()}

    files, path = connect(f"{bucket}/new/image.png")
    files.pipe_file(path, b"before")
    before = state()
    assert state() == before
    files.pipe_file(path, b"longer after")
    assert state() != before


def test_globs(tree: Path) -> None:
    assert listed(f"{tree}/*.jpg") == {"b.jpg": b"second"}
    assert list(listed(f"{tree}/**/*.tif")) == ["patient/late/c.tif"]


MANIFEST = {"File": ["b.jpg", "c.tif"], "patient_id": ["7", None], "Laterality": ["L", None]}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_manifests_place_images(tree: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "with_manifest"
    shutil.copytree(tree, folder)
    if kind == "csv":
        (folder / "list.csv").write_text("File,patient_id,Laterality\nb.jpg,7,L\nc.tif,,\n")
    else:
        pyarrow.parquet.write_table(pa.table(MANIFEST), folder / "list.parquet")
    source = open_source(str(folder / f"list.{kind}"))
    first, second = source.entries()
    assert first.name == "b.jpg"
    assert first.placement == Placement("7", "L", None)
    assert second.name == "patient/late/c.tif"
    assert second.placement == Placement()
    assert source.read(second) == b"third"


def test_a_manifest_without_files_is_refused(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"patient_id": ["7"]}), tmp_path / "list.parquet")
    with pytest.raises(MetadataError, match="lacks the column file"):
        listed(str(tmp_path / "list.parquet"))
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(MetadataError, match="cannot be read as Parquet"):
        listed(str(tmp_path / "damaged.parquet"))


def test_a_large_member_is_not_read_whole(tmp_path: Path) -> None:
    most = ReadingLimits().max_image_bytes
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bytes(2 * most))
    source = open_source(str(tmp_path / "bomb.zip"))
    (entry,) = source.entries()
    assert len(source.read(entry)) == most + 1


def test_damage_in_an_archive_concerns_one_file(tmp_path: Path) -> None:
    path = tmp_path / "stored.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in FOUND:
            archive.writestr(name, FILES[name])
    path.write_bytes(path.read_bytes().replace(b"first", b"other"))
    source = open_source(str(path))
    read, failed = {}, []
    for entry in source.entries():
        try:
            read[entry.name] = source.read(entry)
        except UnreadableFileError:
            failed.append(entry.name)
    assert failed == ["a.PNG"]
    assert read["b.jpg"] == b"second"


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / f"files.{kind}").write_bytes(b"not an archive" * 99)
    with pytest.raises(UnreadableFileError, match=f"{kind} archive cannot be read"):
        listed(str(tmp_path / f"files.{kind}"))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("files.tar.gz", "Compressed tar"),
        ("files.tgz", "Compressed tar"),
        ("nonsense://bucket", "scheme is unknown"),
    ],
)
def test_sources_that_cannot_be_read(source: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_source(source)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="nothing at SOURCE"):
        listed(str(tmp_path / "missing"))


def test_a_file_that_has_gone_is_refused_when_read(tree: Path) -> None:
    with pytest.raises(UnreadableFileError, match="does not exist"):
        open_source(str(tree)).read(Entry("gone.jpg", str(tree / "gone.jpg"), 1, ""))


def test_a_tar_is_listed_without_links_and_folders(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "files.tar", "w") as archive:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        image = tarfile.TarInfo("image.jpg")
        image.size = 3
        archive.addfile(image, io.BytesIO(b"abc"))
    assert listed(str(tmp_path / "files.tar")) == {"image.jpg": b"abc"}
