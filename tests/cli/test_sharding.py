"""Parts of many files."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammoscope.cli.sharding import Shard
from mammoscope.errors import ConfigurationError

PATHS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1).map(Path)


@given(PATHS, st.integers(1, 1000))
def test_every_file_has_one_part(path: Path, count: int) -> None:
    assert sum(Shard(index, count).holds(path) for index in range(count)) == 1


def test_parts_have_similar_sizes() -> None:
    paths = [Path(f"images/{number:06}.dcm") for number in range(4000)]
    sizes = [sum(map(Shard(index, 8).holds, paths)) for index in range(8)]
    assert 400 < min(sizes) <= max(sizes) < 600


def test_parts_are_written_as_index_and_count() -> None:
    assert Shard.parse("3/16") == Shard(3, 16)


@pytest.mark.parametrize(
    "text", ["", "3", "3/", "16/16", "1/0", "-1/4", "\u0663/4", "1 / 4", "1/4\n"]
)
def test_invalid_parts_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        Shard.parse(text)
