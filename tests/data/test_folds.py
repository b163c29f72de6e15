"""The table of folds: writing, reading, and the patients that a run leaves out."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammoscope.__main__ import main
from mammoscope.data.dataset import Example, Facts, read_dataset
from mammoscope.data.fold_table import (
    FOLDS,
    FOLDS_TABLE,
    assign_folds,
    read_folds,
    write_folds,
)
from mammoscope.data.split_table import hashed
from mammoscope.data.splitting import leave_out
from mammoscope.errors import EmptyDatasetError, LeakageError, MetadataError


def example(patient: int, number: int, label: int, machine: str = "49") -> Example:
    return Example(
        path=Path(f"{patient}_{number}.jpg"),
        label=label,
        split="train",
        patient_id=str(patient),
        image_id=str(number),
        patient_known=True,
        facts=Facts(machine_id=machine),
    )


@settings(max_examples=40)
@given(
    labels=st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=5), min_size=20),
    shuffled=st.randoms(use_true_random=False),
)
def test_every_image_is_left_out_once_with_its_patient(labels, shuffled):
    labels += [[0]] * 5 + [[1]] * 5
    cohort = [example(p, n, label) for p, its in enumerate(labels) for n, label in enumerate(its)]
    table = assign_folds(cohort)
    left_out = [
        e for fold in range(1, FOLDS + 1) for e in leave_out(cohort, table, fold, ()).validation
    ]
    assert sorted(left_out, key=str) == sorted(cohort, key=str)
    shuffled.shuffle(cohort)
    assert assign_folds(cohort) == table


def test_folds_have_similar_shares_of_machines_and_labels():
    cohort = [
        example(patient, number, int(patient % 3 == 0), machine=str(patient % 2))
        for patient in range(300)
        for number in range(1 + patient % 4)
    ]
    table = assign_folds(cohort)
    for machine in ("0", "1"):
        for label in (0, 1):
            members = [e for e in cohort if e.facts.machine_id == machine and e.label == label]
            for fold in range(1, FOLDS + 1):
                count = sum(table[hashed(e.patient_id)] == fold for e in members)
                assert count == pytest.approx(len(members) / FOLDS, rel=0.1, abs=2)


def test_the_command_reproduces_the_committed_table(real_dataset, tmp_path, capsys):
    made = tmp_path / "folds.csv"
    assert main(["dev", "folds", "--data", str(real_dataset), "--output", str(made)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + FOLDS
    pool = [e for e in read_dataset(real_dataset).examples if e.split != "test"]
    assert set(read_folds(made)) == {hashed(e.patient_id) for e in pool}
    if set(read_folds(made)) == set(read_folds(FOLDS_TABLE)):  # not with phantoms
        assert made.read_bytes() == FOLDS_TABLE.read_bytes()


def test_a_table_of_other_patients_is_refused(tmp_path):
    cohort = [example(p, 0, p % 2) for p in range(20)]
    table = assign_folds(cohort)
    with pytest.raises(MetadataError, match="lacks 1 patients"):
        leave_out([*cohort, example(99, 0, 0)], table, 1, ())
    with pytest.raises(MetadataError, match="is in fold 6"):
        leave_out(cohort, table, 6, ())
    with pytest.raises(LeakageError):
        leave_out(cohort, table, 1, test=cohort[:1])
    with pytest.raises(EmptyDatasetError, match="4 patients"):
        assign_folds(cohort[:4])
    for text in ("patient,part\na,1\n", "patient,fold\na,b\n", "patient,fold\na,1\na,2\n"):
        (tmp_path / "damaged.csv").write_text(text)
        with pytest.raises(MetadataError, match="table of folds"):
            read_folds(tmp_path / "damaged.csv")
    write_folds(table, tmp_path / "folds.csv")
    assert read_folds(tmp_path / "folds.csv") == table
