"""``audit`` and ``phantoms`` from the command line: lines, JSON, exit codes, bad input."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mammoscope.phantoms.drawing import write_phantom_dataset, write_phantoms

NOBODY = 65534

# Runs ``python -m mammoscope`` after giving up root, for whom permission bits do not hold. What
# the command needs is imported before, so that Python itself may lie where only root can read.
AS_NOBODY = f"""
import os, sys
import scipy.fftpack, tqdm
from PIL import Image
import mammoscope.data.audit
from mammoscope.__main__ import main, parser
Image.init()
parser()
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
sys.exit(main())
"""

# Sends Ctrl-C to itself while the third image is read.
INTERRUPTED = """
import os, signal, sys
import mammoscope.data.audit.inspection as inspection
from mammoscope.__main__ import main
calls, read_file = [], inspection.read_file
def interrupting(path):
    calls.append(path)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGINT)
    return read_file(path)
inspection.read_file = interrupting
sys.exit(main())
"""


def start(*words: Any, code: str | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    program = ["-c", code] if code else ["-m", "mammoscope"]
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.run(
        [sys.executable, *program, *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        timeout=240,
        check=False,
        **options,
    )


def assert_refused(result: subprocess.CompletedProcess[str], words: str, code: int = 1) -> None:
    assert result.returncode == code, result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audited")
    write_phantom_dataset(folder, patients=3, seed=4, metadata=True)
    return folder


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    """A copy of the data set without metadata, for damaging."""
    for path in dataset.rglob("*.jpg"):
        target = tmp_path / "copy" / path.relative_to(dataset)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return tmp_path / "copy"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter; pytest's own are not open to the user nobody."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)


def test_lines_and_json_agree(dataset: Path, tmp_path: Path) -> None:
    result = start("audit", dataset, "--strict", "--json", tmp_path / "audit.json")
    assert (result.returncode, result.stderr) == (0, "")
    report = json.loads((tmp_path / "audit.json").read_text())
    lines = result.stdout.splitlines()
    assert lines[0] == f"{report['pictures']} images in the published folders"
    assert "With valid merged into train (files stay in place)" in lines
    assert "Sizes in pixels: 640x640 (12)" in lines
    assert "Modes: RGB (12); formats: JPEG (12)" in lines
    assert "Unreadable files: none" in lines
    assert "Exact duplicates: none" in lines
    assert "Inverted (bright background): 4 images, 33.3%; machine 29: 4 of 4" in lines
    assert "Patients: 3" in lines
    assert "Breasts (by patient and laterality): 6, 0 with images of both labels" in lines
    assert "Leaks: none; no patient and no image is in more than one split" in lines
    assert lines[-1] == "Verdict: no leak and no label conflict found"
    assert report["passed"]


def test_strict_fails_on_a_leak_and_the_report_names_it(copy: Path) -> None:
    moved = next((copy / "train" / "0").iterdir())
    moved.rename(copy / "test" / "0" / moved.name)
    assert start("audit", copy).returncode == 0
    result = start("audit", copy, "--strict")
    assert result.returncode == 1
    assert "LEAK: 1 patient in more than one split" in result.stdout
    assert f"patient {moved.name.split('_')[0]}: train (3), test (1)" in result.stdout
    assert "Verdict: leak or label conflict" in result.stdout


def test_strict_fails_on_a_conflict(copy: Path) -> None:
    original = next((copy / "train" / "0").iterdir())
    twin = copy / "train" / "1" / original.name.replace("_png", "0_png")
    twin.write_bytes(original.read_bytes())
    result = start("audit", copy, "--strict")
    assert result.returncode == 1
    assert "Exact duplicates: 1 in 1 group\n" in result.stdout
    assert "Label conflicts between copies of one image: 1" in result.stdout


def test_damaged_files_are_listed_and_the_rest_is_audited(copy: Path) -> None:
    (copy / "train" / "0" / "9_9_png.rf.0.jpg").write_text("a letter")
    whole = next((copy / "train" / "1").iterdir())
    (copy / "train" / "1" / "9_8_png.rf.0.jpg").write_bytes(whole.read_bytes()[:9000])
    result = start("audit", copy, "--strict")
    assert result.returncode == 0
    assert "Files that cannot be used: 2" in result.stdout
    assert "train/0/9_9_png.rf.0.jpg: unsupported_image" in result.stdout
    assert "train/1/9_8_png.rf.0.jpg: corrupt_image" in result.stdout


def test_metadata_names_the_patients_of_any_files(tmp_path: Path) -> None:
    first, second, *_ = write_phantoms(tmp_path, 4)
    (tmp_path / "0").mkdir()
    (tmp_path / "1").mkdir()
    first.rename(tmp_path / "0" / "one.jpg")
    second.rename(tmp_path / "1" / "two.png")
    unknown = start("audit", tmp_path)
    assert "Leaks cannot be excluded: 2 images without a known patient" in unknown.stdout
    table = tmp_path / "table.csv"
    table.write_text("file,patient_id,laterality\none.jpg,A,L\ntwo.png,A,R\n")
    known = start("audit", tmp_path, "--metadata", table)
    assert "Patients: 1" in known.stdout
    assert "Breasts (by patient and laterality): 2" in known.stdout


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert_refused(start("audit", tmp_path / "nowhere"), "does not exist")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert_refused(start("audit", tmp_path), "has no images")


def test_one_class_is_refused_after_the_report(copy: Path) -> None:
    for path in copy.glob("*/1/*"):
        path.unlink()
    result = start("audit", copy)
    assert_refused(result, "need labels 0 and 1")
    assert "Verdict" in result.stdout


def test_no_readable_image_is_refused_after_the_report(tmp_path: Path) -> None:
    for label in "01":
        (tmp_path / label).mkdir()
        (tmp_path / label / "text.jpg").write_text("a letter")
    result = start("audit", tmp_path)
    assert_refused(result, "Every image in the folder was refused")
    assert "unsupported_image" in result.stdout


def test_broken_metadata_is_refused(copy: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("name\nx\n")
    assert_refused(start("audit", copy, "--metadata", table), "lacks the column")


def test_a_full_disk_loses_the_json_but_not_the_report(copy: Path) -> None:
    result = start("audit", copy, "--json", "/dev/full")
    assert_refused(result, "The system says: No space left on device.")
    assert "Verdict" in result.stdout


def test_a_json_file_in_a_missing_folder_is_refused_early(copy: Path, tmp_path: Path) -> None:
    result = start("audit", copy, "--json", tmp_path / "no" / "audit.json")
    assert_refused(result, "folder of the output file does not exist")
    assert result.stdout == ""


def test_a_full_standard_output_is_refused_without_a_traceback(copy: Path) -> None:
    with Path("/dev/full").open("w") as full:
        result = start("audit", copy, stdout=full)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr
    assert result.stderr.strip()


def test_ctrl_c_ends_with_130_and_no_report(copy: Path, tmp_path: Path) -> None:
    result = start("audit", copy, "--json", tmp_path / "audit.json", code=INTERRUPTED)
    assert result.returncode == 130
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "audit.json").exists()


def test_usage_errors_end_with_2() -> None:
    assert start("audit").returncode == 2
    assert start("audit", ".", "--unknown").returncode == 2


@pytest.mark.parametrize("closed", ["", "train", "train/0"])
def test_a_folder_without_permission_is_refused(closed: str, open_folder: Path) -> None:
    write_phantom_dataset(open_folder / "data", patients=3)
    (open_folder / "data" / closed).chmod(0)
    result = start("audit", open_folder / "data", code=AS_NOBODY)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_json_file_without_permission_is_refused(dataset: Path, open_folder: Path) -> None:
    write_phantom_dataset(open_folder / "data", patients=3)
    hidden = open_folder / "hidden"
    hidden.mkdir(mode=0)
    words = ("audit", open_folder / "data", "--json")
    before = start(*words, hidden / "new" / "audit.json", code=AS_NOBODY)
    assert_refused(before, "cannot be entered")
    after = start(*words, open_folder / "audit.json", code=AS_NOBODY)
    assert_refused(after, "The system says: Permission denied.")
    assert "Verdict" in after.stdout


def test_a_folder_as_json_file_is_refused(copy: Path, tmp_path: Path) -> None:
    assert_refused(start("audit", copy, "--json", tmp_path), "The system says: Is a directory.")


def test_a_file_without_permission_is_listed(open_folder: Path) -> None:
    write_phantom_dataset(open_folder / "data", patients=3)
    closed = next((open_folder / "data" / "train" / "0").iterdir())
    closed.chmod(0)
    result = start("audit", open_folder / "data", code=AS_NOBODY)
    assert result.returncode == 0, result.stderr
    assert f"train/0/{closed.name}: unreadable_file" in result.stdout


def test_phantoms_are_written_and_named(tmp_path: Path) -> None:
    result = start("phantoms", tmp_path / "out", "--count", "3", "--seed", "9")
    assert (result.returncode, result.stderr) == (0, "")
    named = [Path(line) for line in result.stdout.splitlines()]
    assert sorted(named) == sorted((tmp_path / "out").iterdir())
    assert len(named) == 3


def test_a_phantom_data_set_is_written_only_into_an_empty_folder(tmp_path: Path) -> None:
    words = ("phantoms", tmp_path / "set", "--dataset", "--count", "3")
    first = start(*words)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith("12 images of 3 patients")
    assert_refused(start(*words), "must be empty")


def test_phantoms_refuse_invalid_arguments(tmp_path: Path, open_folder: Path) -> None:
    assert_refused(start("phantoms", tmp_path, "--count", "0"), "at least 1")
    assert_refused(start("phantoms", tmp_path, "--seed", "-1"), "must not be negative")
    (tmp_path / "file").touch()
    assert_refused(start("phantoms", tmp_path / "file"), "give a folder")
    hidden = open_folder / "hidden"
    hidden.mkdir(mode=0)
    assert_refused(start("phantoms", hidden, "--dataset", code=AS_NOBODY), "cannot be listed")
    assert_refused(start("phantoms", hidden / "new", code=AS_NOBODY), "cannot be listed")
    closed = open_folder / "closed"
    closed.mkdir(mode=0o555)
    assert_refused(start("phantoms", closed, code=AS_NOBODY), "cannot be written")
    assert_refused(start("phantoms", closed / "new", code=AS_NOBODY), "cannot be written")
    (tmp_path / "phantom_001_R_CC_mass.jpg").symlink_to("/dev/full")
    assert_refused(start("phantoms", tmp_path, "--count", "1"), "cannot be written")
