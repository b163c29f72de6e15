"""Print the licences of the service's packages; exit 1 if one is GPL or unknown.

Usage: python scripts/licences.py LICENCES.json Pipfile.lock
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Final

REVIEWED: Final = {
    "dumb-init": "MIT",
    "keras-image-helper": "WTFPL-2.0",
    "namex": "Apache-2.0",
}
"""Licences read from the licence file of packages whose metadata names none."""

COPYLEFT: Final = re.compile(r"(?<![A-Za-z])A?GPL|(?<!Lesser )General Public", re.IGNORECASE)
UNKNOWN: Final = re.compile(r"unknown|proprietary", re.IGNORECASE)


def normalised(name: str) -> str:
    """Return a package name in the form that indexes compare."""
    return re.sub(r"[-_.]+", "-", name).lower()


def check(listed: dict[str, str], locked: set[str]) -> tuple[dict[str, str], list[str]]:
    """Return the licence of each package in `locked`, and the problems found."""
    licences = {
        name: REVIEWED.get(name, listed[name]) if UNKNOWN.search(listed[name]) else listed[name]
        for name in sorted(locked & set(listed))
    }
    wrong = [
        f"{name}: not installed, so its licence is unknown" for name in sorted(locked - set(listed))
    ]
    for name, licence in licences.items():
        if UNKNOWN.search(licence):
            wrong.append(f"{name}: its metadata names no licence")
        elif COPYLEFT.search(licence):
            wrong.append(f"{name}: {licence}")
    return licences, wrong


def main(listing: Path, lock: Path) -> int:
    """Print the count of each licence, then the problems."""
    listed = {
        normalised(each["Name"]): each["License"] for each in json.loads(listing.read_text("utf-8"))
    }
    locked = {normalised(name) for name in json.loads(lock.read_text("utf-8"))["default"]}
    licences, wrong = check(listed, locked)
    print(f"Licences of {len(licences)} packages:")
    for licence, count in Counter(licences.values()).most_common():
        print(f"  {count:3}  {licence}")
    print("\n".join(wrong) or "  none is GPL")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
