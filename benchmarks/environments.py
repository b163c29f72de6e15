"""Environments of the compared programs: created once, kept while requirements are the same."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
ENVIRONMENTS: Final = Path(__file__).parent / ".environments"
REQUIREMENTS: Final = Path(__file__).parent / "requirements"
PEERS: Final = Path(__file__).parent / "peers"

_STAMP: Final = ".installed"
_INSTALLERS: Final = ("pip", "setuptools")
"""Present in every environment, but needed by none of the servers."""


class EnvironmentFailedError(Exception):
    """An environment cannot be installed here; the message gives the reason."""


def serving_python() -> Path:
    """Return the interpreter of an environment like that of the image.

    It has the service's packages from Pipfile.lock, without the files that the image omits.
    """
    lock = json.loads((ROOT / "Pipfile.lock").read_text("utf-8"))
    return _python("mammoscope", locked_requirements(lock, "default"), ROOT / ".ci" / "prune.py")


def peer_python(name: str) -> Path:
    """Return the interpreter of the environment for a peer's folder."""
    return _python(name, (PEERS / name / "requirements.txt").read_text("utf-8"))


def engine_python(name: str) -> Path:
    """Return the interpreter of an environment in `REQUIREMENTS`."""
    return _python(name, (REQUIREMENTS / f"{name}.txt").read_text("utf-8"))


def locked_requirements(lock: Mapping[str, Any], category: str) -> str:
    """Return the requirements of one category of a Pipfile.lock, in pip's format."""
    lines = []
    for name, entry in sorted(lock[category].items()):
        marker = f" ; {entry['markers']}" if "markers" in entry else ""
        lines.append(f"{name}{entry['version']}{marker}\n")
    return "".join(lines)


def installed_bytes(python: Path) -> int:
    """Size of all files of an environment's packages, without the installer's."""
    total = 0
    for folder in _site_packages(python):
        for path in folder.rglob("*"):
            top = path.relative_to(folder).parts[0].partition("-")[0]
            if top not in _INSTALLERS and path.is_file() and not path.is_symlink():
                total += path.stat().st_size
    return total


def versions(python: Path) -> dict[str, str]:
    """Version of each package of an environment."""
    folders = [str(folder) for folder in _site_packages(python)]
    found = {d.metadata["Name"].lower(): d.version for d in distributions(path=folders)}
    return dict(sorted(found.items()))


def _site_packages(python: Path) -> list[Path]:
    return sorted((python.parents[1] / "lib").glob("python*/site-packages"))


def _python(name: str, requirements: str, afterwards: Path | None = None) -> Path:
    """Create the environment `name` unless it already exists in this form.

    Its interpreter runs the program `afterwards` after the installation.
    """
    folder = ENVIRONMENTS / name
    python = folder / "bin" / "python"
    stamp = folder / _STAMP
    program = afterwards.read_text("utf-8") if afterwards else ""
    wanted = hashlib.sha256(f"{sys.version}\n{requirements}{program}".encode()).hexdigest()
    if stamp.is_file() and stamp.read_text("ascii") == wanted:
        return python
    print(f"Installing the environment {name}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    _run(name, sys.executable, "-m", "venv", str(folder))
    listing = folder / "requirements.txt"
    listing.write_text(requirements, "utf-8")
    _run(name, str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--requirement", str(listing))  # fmt: skip
    if afterwards:
        _run(name, str(python), str(afterwards))
    stamp.write_text(wanted, "ascii")
    return python


def _run(name: str, *command: str) -> None:
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:
        said = (result.stderr or result.stdout).splitlines()
        reasons = [line for line in said if line.startswith("ERROR")]
        reason = " ".join(reasons or said[-3:])[:600]
        raise EnvironmentFailedError(f"{name} cannot be installed: {reason}")
