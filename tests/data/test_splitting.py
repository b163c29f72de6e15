from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammoscope.data.dataset import Example, read_dataset
from mammoscope.data.splitting import PatientSplit, folds, shared_patients, split_off
from mammoscope.errors import EmptyDatasetError, LeakageError, SingleClassError


def example(patient: int, number: int, label: int) -> Example:
    return Example(
        path=Path(f"{patient}_{number}.jpg"),
        label=label,
        split="train",
        patient_id=str(patient),
        image_id=str(number),
        patient_known=True,
    )


@st.composite
def cohorts(draw) -> list[Example]:
    labels = draw(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=5), min_size=12))
    labels += [[0], [1], [0], [1]]
    return [
        example(patient, number, label)
        for patient, images in enumerate(labels)
        for number, label in enumerate(images)
    ]


@settings(max_examples=40, deadline=None)
@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")
@given(cohort=cohorts(), count=st.integers(2, 5), seed=st.integers(0, 100))
def test_folds_share_no_patient_and_cover_all_images(cohort, count, seed):
    small_parts = []
    for large, small in folds(cohort, count, seed):
        assert not shared_patients(large, small)
        assert len(large) + len(small) == len(cohort)
        small_parts += small
    assert sorted(small_parts, key=str) == sorted(cohort, key=str)


def test_a_split_is_stratified_and_repeatable():
    cohort = [example(p, n, int(p % 3 == 0)) for p in range(150) for n in range(4)]
    large, small = split_off(cohort, 0.2, seed=4)
    assert len(small) == pytest.approx(0.2 * len(cohort), rel=0.1)
    share = [sum(e.label for e in part) / len(part) for part in (large, small)]
    assert share[0] == pytest.approx(share[1], abs=0.05)
    assert split_off(list(reversed(cohort)), 0.2, seed=4)[1] == small
    assert split_off(cohort, 0.2, seed=5)[1] != small


def test_a_split_that_shares_a_patient_cannot_be_constructed():
    a, b, c = example(1, 1, 0), example(1, 2, 1), example(2, 1, 0)
    PatientSplit((a, b), (c,))
    for sides in (((a,), (b,), ()), ((a,), (c,), (b,)), ((c,), (a,), (b,))):
        with pytest.raises(LeakageError, match="1 patients would be"):
            PatientSplit(*sides)


def test_cohorts_that_cannot_be_divided_are_refused():
    with pytest.raises(SingleClassError):
        split_off([example(p, 0, 0) for p in range(10)], 0.2, seed=0)
    with pytest.raises(EmptyDatasetError, match="2 patients"):
        split_off([example(0, 0, 0), example(1, 0, 1)], 0.2, seed=0)


def test_the_data_set_is_divided_by_patient(real_dataset: Path):
    dataset = read_dataset(real_dataset)
    pool = dataset.split("train", "valid")
    train, validation = split_off(pool, 0.2, seed=0)
    PatientSplit(train, validation, dataset.split("test"))
