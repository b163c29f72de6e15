"""The split table of this, earlier and later versions."""

from pathlib import Path

import pytest

from mammoscope.data.dataset import read_dataset
from mammoscope.data.split_table import SPLIT_NAME, SplitRow, read_split, write_split
from mammoscope.errors import MetadataError


def test_a_table_is_read_as_it_was_written(phantom_dataset: Path, tmp_path: Path) -> None:
    examples = read_dataset(phantom_dataset, None).split("test")
    write_split(tmp_path, {"test": examples[:2], "train": examples[2:]})
    assert read_split(tmp_path) == tuple(
        SplitRow(each.path.name, each.patient_id, "test" if index < 2 else "train")
        for index, each in enumerate(examples)
    )


def test_a_table_without_a_schema_is_read(tmp_path: Path) -> None:
    (tmp_path / SPLIT_NAME).write_text("file,label,patient_id,part\na.jpg,0,7,test\n")
    assert read_split(tmp_path) == (SplitRow("a.jpg", "7", "test"),)


def test_a_table_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / SPLIT_NAME).write_text("file,group,schema\na.jpg,7,3\n")
    message = r"This split\.csv has schema 3; this version of Mammoscope reads up to 2\."
    with pytest.raises(MetadataError, match=message):
        read_split(tmp_path)


@pytest.mark.parametrize("content", ["file,label\na.jpg,0\n", "file,schema\na.jpg,\n"])
def test_a_damaged_table_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / SPLIT_NAME).write_text(content)
    with pytest.raises(MetadataError):
        read_split(tmp_path)
