"""Shards hold every file once, in order, and do not depend on files elsewhere."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mammoscope.bulk.shards import MOST_SECONDS, cut, images_in
from mammoscope.bulk.sources import Entry
from mammoscope.studies import Placement

NAMES = st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=60)


def entries(names: list[str]) -> list[Entry]:
    return [Entry(name, name, 1, "") for name in names]


@given(NAMES, st.integers(1, 20))
def test_every_file_is_in_one_shard(names: list[str], most: int) -> None:
    shards = list(cut(entries(names), most))
    assert [entry.name for shard in shards for entry in shard.entries] == names
    assert all(1 <= len(shard.entries) <= most for shard in shards)
    assert [shard.part for shard in cut(entries(names), most)] == [each.part for each in shards]
    assert len({shard.part for shard in shards}) == len(shards)


def test_a_new_file_leaves_most_shards_as_they_were() -> None:
    names = [f"{number:05d}.jpg" for number in range(2000)]
    before = {shard.part for shard in cut(entries(names), 40)}
    after = {shard.part for shard in cut(entries([*names[:700], "00699b.jpg", *names[700:]]), 40)}
    assert len(before) > 50
    assert len(before - after) < 5


def test_a_changed_file_changes_its_shard() -> None:
    (entry,) = entries(["a"])
    changed = [
        replace(entry, size=2), replace(entry, state="later"), replace(entry, name="b"),
        replace(entry, placement=Placement("7")),
    ]  # fmt: skip
    parts = {shard.part for each in [entry, *changed] for shard in cut([each], 5)}
    assert len(parts) == 5


@given(st.floats(1e-9, 1e4))
def test_a_shard_takes_a_bounded_time(image_s: float) -> None:
    images = images_in(image_s)
    assert images == 1 or images * image_s <= MOST_SECONDS
    assert images <= 5000
