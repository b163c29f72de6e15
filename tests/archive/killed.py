"""A worker that is killed at one step: ``python -m tests.archive.killed STEP WHEN COMMAND...``.

STEP is ``module:Class.method`` or ``module:function``; WHEN is ``before`` or ``after``.
"""

import importlib
import os
import signal
import sys
from typing import Any

from mammoscope.__main__ import main


def kill_at(step: str, when: str) -> None:
    """Let the first call of a function kill this process, without any chance to clean up."""
    module, _, name = step.partition(":")
    owner: Any = importlib.import_module(module)
    *path, name = name.split(".")
    for each in path:
        owner = getattr(owner, each)
    function = getattr(owner, name)

    def killing(*arguments: Any, **options: Any) -> Any:
        if when == "after":
            function(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, killing)


if __name__ == "__main__":
    kill_at(*sys.argv[1:3])
    sys.exit(main(sys.argv[3:]))
