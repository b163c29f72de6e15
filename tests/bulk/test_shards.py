"""Shards hold every file once, in order, and do not depend on files elsewhere."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammoscope.bulk.shards import FIRST_IMAGES, MOST_SECONDS, Shard, cut, images_in, most_shards
from mammoscope.bulk.sources import Entry
from mammoscope.studies import Placement

NAMES = st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=60)


def entries(names: list[str]) -> list[Entry]:
    return [Entry(name, name, 1, "") for name in names]


def shards_of(names: list[str], most: int) -> list[Shard]:
    return list(cut(entries(names), lambda: most))


@given(NAMES, st.integers(1, 20))
def test_every_file_is_in_one_shard(names: list[str], most: int) -> None:
    shards = shards_of(names, most)
    assert [entry.name for shard in shards for entry in shard.entries] == names
    assert sum(len(shard.entries) for shard in shards[:1]) == min(len(names), FIRST_IMAGES)
    assert all(1 <= len(shard.entries) <= most for shard in shards[1:])
    assert [shard.part for shard in shards_of(names, most)] == [each.part for each in shards]
    assert len({shard.part for shard in shards}) == len(shards)
    assert len(shards) <= most_shards(len(names))
    assert len(shards_of(names, 1)) == (most_shards(len(names)) if names else 0)


def test_the_first_shard_is_there_before_others_are_sized() -> None:
    asked: list[bool] = []

    def most() -> int:
        asked.append(True)
        return 3

    shards = cut(entries([f"{number}.jpg" for number in range(20)]), most)
    assert len(next(shards).entries) == FIRST_IMAGES
    assert not asked
    assert sum(len(shard.entries) for shard in shards) == 20 - FIRST_IMAGES
    assert len(asked) == 1
    few = [str(number) for number in range(FIRST_IMAGES)]
    assert len(list(cut(entries(few), lambda: pytest.fail("nothing to size")))) == 1


def test_a_new_file_leaves_most_shards_as_they_were() -> None:
    names = [f"{number:05d}.jpg" for number in range(2000)]
    before = {shard.part for shard in shards_of(names, 40)}
    for place in (1, 700):
        changed = [*names[:place], f"{names[place - 1]}b", *names[place:]]
        after = {shard.part for shard in shards_of(changed, 40)}
        assert len(before - after) < 5
    assert len(before) > 50


def test_a_changed_file_changes_its_shard() -> None:
    (entry,) = entries(["a"])
    changed = [
        replace(entry, size=2), replace(entry, state="later"), replace(entry, name="b"),
        replace(entry, placement=Placement("7")),
    ]  # fmt: skip
    parts = {shard.part for each in [entry, *changed] for shard in cut([each], lambda: 5)}
    assert len(parts) == 5


@given(st.floats(1e-9, 1e4))
def test_a_shard_takes_a_bounded_time(image_s: float) -> None:
    images = images_in(image_s)
    assert images == 1 or images * image_s <= MOST_SECONDS
    assert images <= 5000
