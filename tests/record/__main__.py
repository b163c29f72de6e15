"""``python -m tests.record [GROUP...]``: write the record anew, and say what has changed in it."""

import argparse
import os
import sys

os.environ["KERAS_BACKEND"] = "openvino"  # before anything imports Keras

from tests.record.groups import GROUPS, PROCESSOR
from tests.record.keeping import differences, file_of, load, write
from tests.record.scores import processor


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.record", description=__doc__)
    parser.add_argument("group", nargs="*", help=f"of {', '.join(GROUPS)}; all without it")
    wanted = parser.parse_args().group or list(GROUPS)
    if unknown := set(wanted) - set(GROUPS):
        parser.error(f"there is no group {', '.join(sorted(unknown))}")
    here = processor()
    if set(wanted) != set(GROUPS) and here != load(PROCESSOR):
        parser.error("the other groups were made on another processor; write all of them")
    for group in wanted:
        entries = GROUPS[group]()
        changes = differences(load(group), entries) if file_of(group).exists() else "written first"
        write(group, entries)
        print(f"{group}: {changes or 'unchanged'}")  # noqa: T201 what it is asked for
    write(PROCESSOR, here)
    return 0


if __name__ == "__main__":
    sys.exit(main())
