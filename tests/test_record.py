"""The package gives the recorded answers; see `tests.record`."""

import warnings
from typing import Any

import pytest

from tests.record.groups import GROUPS, PROCESSOR
from tests.record.keeping import NETWORK, differences, load
from tests.record.scores import ALLOWED, IN_FLOAT, far_apart, processor

RENEW = "If all of this is intended: python -m tests.record, and commit what it writes by itself."


@pytest.fixture(scope="module")
def same_processor() -> bool:
    recorded, here = load(PROCESSOR), processor()
    if recorded == here:
        return True
    allowed = ", ".join(f"{kind}: {most}" for kind, most in ALLOWED.items())
    warnings.warn(
        f"This processor is not the record's. Probabilities may differ ({allowed}); its other "
        f"answers are not compared. Recorded: {recorded}; here: {here}",
        stacklevel=1,
    )
    return False


@pytest.mark.filterwarnings("default:This processor is not the record's")
@pytest.mark.parametrize("group", GROUPS)
def test_answers_are_those_recorded(group: str, same_processor: bool) -> None:
    recorded, now = load(group), GROUPS[group]()
    if group == "scores" and not same_processor:
        assert set(now) == set(recorded)
        found = "\n".join(far_apart(recorded, now))
    else:
        found = differences(recorded, now, same_processor=same_processor)
    if found:
        pytest.fail(f"{group}: {found}\n{RENEW}", pytrace=False)


# The comparison itself

ENTRIES: dict[str, Any] = {
    "asked": {NETWORK: True, "status": 200, "body": {"probability": 0.25, "label": "tumour"}},
    "not asked": {"status": 200, "share": 0.25},
}


@pytest.mark.parametrize(
    ("name", "change", "elsewhere"),
    [
        ("asked", {"body": {"probability": 0.2500001, "label": "tumour"}}, False),
        ("asked", {"body": {"probability": 0.25, "label": "no tumour"}}, False),
        ("asked", {"body": {"label": "tumour", "probability": 0.25}}, True),
        ("asked", {"status": 201}, True),
        ("not asked", {"share": 0.2500001}, True),
    ],
)
def test_a_change_is_detected(name: str, change: dict[str, Any], elsewhere: bool) -> None:
    now = {**ENTRIES, name: {**ENTRIES[name], **change}}
    assert differences(ENTRIES, ENTRIES) == ""
    assert differences(ENTRIES, now).startswith(f"1 of 2 entries: {name}\n")
    assert bool(differences(ENTRIES, now, same_processor=False)) == elsewhere


def test_added_and_removed_entries_are_detected() -> None:
    fewer = {"asked": ENTRIES["asked"]}
    assert "not asked is gone" in differences(ENTRIES, fewer)
    assert "not asked is new" in differences(fewer, ENTRIES)


def test_probabilities_may_differ_by_a_thousandth_elsewhere() -> None:
    def entries(probability: float) -> dict[str, Any]:
        return {"a": {IN_FLOAT: {"probability": probability, "with_age_57": 0.5}}}

    assert far_apart(entries(0.5), entries(0.5009)) == []
    assert far_apart(entries(0.5), entries(0.5011)) == [
        f"a, {IN_FLOAT}: probability was 0.5, is 0.5011"
    ]
