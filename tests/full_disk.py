"""A disk on which one step of writing fails."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

STEPS: Final = (
    (os, "fsync"), (Path, "rename"), (Path, "replace"), (Path, "write_bytes"), (Path, "write_text"),
    (shutil, "copyfile"),
)  # fmt: skip


class FullDisk:
    """Lets the steps before the one of a number pass; that one fails.

    Attributes
    ----------
    left
        Number of the step that fails, counted from now; 0 or less: none.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 0
        for owner, name in STEPS:
            monkeypatch.setattr(owner, name, self._counted(name, getattr(owner, name)))

    def _counted(self, name: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: Any, **options: Any) -> object:
            if name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode):
                return None  # some file systems cannot flush folders, which is not a failure
            self.left -= 1
            if self.left == 0:
                if name == "copyfile":
                    Path(arguments[1]).open("wb").close()  # started but not finished
                raise OSError(28, "No space left on device")
            return function(*arguments, **options)

        return call
