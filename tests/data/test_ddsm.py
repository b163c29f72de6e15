"""The table of DDSM images, read."""

import pytest

from mammoscope.data.ddsm import read_ddsm
from mammoscope.errors import DatasetNotFoundError, MetadataError
from mammoscope.imaging.mammogram import View

TABLE = """file,case,scanner,laterality,view,outlined,pathology,lesion
cancers/a.LEFT_CC.jpg,cancers/case1,A,L,CC,1,MALIGNANT,MASS
cancers/a.RIGHT_CC.jpg,cancers/case1,A,R,CC,0,,
cancers/b.LEFT_MLO.jpg,cancers/case2,B,L,MLO,1,BENIGN,MASS
benigns/c.LEFT_MLO.jpg,benigns/case3,B,L,MLO,1,BENIGN,MASS
benign_without_callbacks/d.LEFT_CC.jpg,benign_without_callbacks/case4,C,L,CC,0,,
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "metadata.csv").write_text(TABLE)
    return tmp_path


def test_the_label_comes_from_the_outline_not_from_the_case(folder):
    examples = read_ddsm(folder, cancers_only=False).examples
    labels = {example.image_id.split("/")[1]: example.label for example in examples}
    assert labels == {
        "a.LEFT_CC.jpg": 1,
        "a.RIGHT_CC.jpg": 0,
        "b.LEFT_MLO.jpg": 0,
        "c.LEFT_MLO.jpg": 0,
        "d.LEFT_CC.jpg": 0,
    }
    first = next(example for example in examples if example.label)
    assert (first.patient_id, first.facts.machine_id) == ("cancers/case1", "A")
    assert first.facts.view is View("CC")
    # Some scanners mirror, so the table's side is unreliable.
    assert first.facts.laterality is None


def test_with_cancers_only_the_folder_does_not_reveal_the_label(folder):
    examples = read_ddsm(folder, cancers_only=True).examples
    assert {example.patient_id for example in examples} == {"cancers/case1", "cancers/case2"}
    assert sorted(example.label for example in examples) == [0, 0, 1]


def test_invalid_tables_are_refused(folder, tmp_path):
    (folder / "metadata.csv").write_text("file,case\na,b\n")
    with pytest.raises(MetadataError, match="lacks scanner, laterality"):
        read_ddsm(folder, cancers_only=True)
    with pytest.raises(DatasetNotFoundError):
        read_ddsm(tmp_path / "nowhere", cancers_only=True)
