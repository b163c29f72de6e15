"""Resolve Pipfile and the tools in `.ci/requirements` into locks without a package index.

pipenv writes the address of the package index into a lock. This script removes it, so that
packages come from the index that pip is configured for; the hashes still pin every file.

Locking ignores pip's own configuration, because pipenv hashes the indexes it finds there together
with the Pipfile: on any other machine, the lock would look out of date.

Each tool that is installed without Pipfile.lock has an environment of its own and a file
`.ci/requirements/NAME.in` with lines ``name==version``. `NAME.txt` pins these packages and their
dependencies by hash, for ``pip install --require-hashes``.

Usage: python scripts/lock.py PIPENV [NAME ...]    with names: only these tools, not Pipfile
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

LOCK = Path("Pipfile.lock")
REQUIREMENTS = Path(".ci") / "requirements"
PIP_SOURCES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS")


def main(pipenv: Path, *names: str) -> int:
    """Lock everything, or only the tools with these names."""
    if not names:
        lock_packages(pipenv)
    for wishes in sorted(REQUIREMENTS.glob("*.in")):
        if not names or wishes.stem in names:
            wishes.with_suffix(".txt").write_text(lock_tools(pipenv, wishes), encoding="utf-8")
    return 0


def lock_packages(pipenv: Path) -> None:
    """Run ``pipenv lock`` and remove the index from Pipfile.lock."""
    run(pipenv, "lock")
    lock = json.loads(LOCK.read_text(encoding="utf-8"))
    lock["_meta"]["sources"] = []
    for name, category in lock.items():
        if name != "_meta":
            for package in category.values():
                package.pop("index", None)
    LOCK.write_text(json.dumps(lock, indent=4, sort_keys=True) + "\n", encoding="utf-8")


def lock_tools(pipenv: Path, wishes: Path) -> str:
    """Return the text of a requirements file: all packages that `wishes` needs, with hashes."""
    wanted = [line.split("==") for line in wishes.read_text(encoding="utf-8").split()]
    with tempfile.TemporaryDirectory() as folder:
        pipfile = Path(folder) / "Pipfile"
        lines = [f'{name} = "=={version}"' for name, version in wanted]
        pipfile.write_text("\n".join(["[packages]", *lines]) + "\n", encoding="utf-8")
        run(pipenv, "lock", pipfile=pipfile)
        listed = run(pipenv, "requirements", "--hash", pipfile=pipfile)
    packages = [line for line in listed.splitlines() if line and not line.startswith(("-", "#"))]
    text = "\n".join(packages).replace(" --hash=", " \\\n    --hash=")
    return f"# Made of {wishes.name} by `make lock`.\n{text}\n"


def run(pipenv: Path, *arguments: str, pipfile: Path | None = None) -> str:
    """Return the output of pipenv, which resolves only from the public index."""
    environment = {key: value for key, value in os.environ.items() if key not in PIP_SOURCES}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIPENV_NOSPIN": "1"}
    if pipfile is not None:
        environment |= {"PIPENV_PIPFILE": str(pipfile), "PIPENV_VENV_IN_PROJECT": "1"}
    return subprocess.run(
        [pipenv.absolute(), *arguments],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
