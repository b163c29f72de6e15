"""Resolve the Pipfile into a Pipfile.lock that names no package index.

pipenv writes the address of the package index into the lock. This script removes it, so that
`pipenv sync` uses the index that pip is configured for; the hashes still pin every file.

Locking ignores pip's own configuration, because pipenv hashes the indexes it finds there together
with the Pipfile: on any other machine, the lock would look out of date.

Usage: python scripts/lock.py PIPENV [PIPENV-OPTION ...]
"""

import json
import os
import subprocess
import sys
from pathlib import Path

LOCK = Path("Pipfile.lock")
PIP_SOURCES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS")


def main(command: list[str]) -> int:
    """Run ``pipenv lock`` and remove the index from the lock file."""
    environment = {key: value for key, value in os.environ.items() if key not in PIP_SOURCES}
    environment["PIP_CONFIG_FILE"] = os.devnull
    code = subprocess.run([*command, "lock"], env=environment, check=False).returncode
    if code:
        return code
    lock = json.loads(LOCK.read_text(encoding="utf-8"))
    lock["_meta"]["sources"] = []
    for name, category in lock.items():
        if name != "_meta":
            for package in category.values():
                package.pop("index", None)
    LOCK.write_text(json.dumps(lock, indent=4, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
