"""Run command lines one after another in this process, and return output and exit codes.

Reads a JSON list of lines from stdin and writes a JSON list of what became of them.
"""

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path
from typing import Any


def run(line: str, root: Path) -> dict[str, Any]:
    first, *rest = line.split()
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            if first == "mammoscope":
                from mammoscope.__main__ import main

                status = main(rest)
            else:
                sys.argv = [first, *rest]
                runpy.run_path(str(root / first), run_name="__main__")
                status = 0
        except SystemExit as end:
            status = 0 if end.code is None else end.code
    return {"exit": status, "stdout": out.getvalue(), "stderr": err.getvalue()}


if __name__ == "__main__":
    root = Path(sys.argv[1])  # commands have arguments of their own
    told = [run(line, root) for line in json.load(sys.stdin)]
    json.dump(told, sys.stdout)
