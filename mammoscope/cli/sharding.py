"""Select one part of many files, to divide work among machines.

A file's part depends only on its path. The parts therefore neither overlap nor leave out a file,
whatever the order of listing, and a new file does not move the others.
"""

import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mammoscope.errors import UsageError


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` of `count`; the first is 0.

    Raises
    ------
    UsageError
        If `index` or `count` is out of range.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise UsageError(f"There is no part {self.index} of {self.count}; the first is 0.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``INDEX/COUNT``; raises UsageError if it is invalid."""
        if re.fullmatch(r"\d{1,9}/\d{1,9}", text, re.ASCII) is None:
            raise UsageError("A part must be INDEX/COUNT, such as 0/4, in whole numbers.")
        index, count = map(int, text.split("/"))
        return cls(index, count)

    def holds(self, path: Path) -> bool:
        """Whether a file belongs to this part."""
        return zlib.crc32(bytes(path)) % self.count == self.index
