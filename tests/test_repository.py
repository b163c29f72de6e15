"""Checks of the whole repository: packages, contents, targets, imports."""

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Joined here, so that this file does not contain them.
REGISTRY_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("debian", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("anaconda", "org"),
    )
]
MAX_TRACKED_BYTES = 2 * 1024 * 1024
# Releases differ between the service and TensorFlow; see Pipfile.
DIFFERS_BY_CATEGORY = {"h5py"}
TRAINING_ONLY = (
    "tensorflow", "jax", "sklearn", "pandas", "matplotlib", "imagehash", "kagglehub", "ray",
    "pyarrow",
)  # fmt: skip
SERVING = [
    "client",
    "errors",
    "imaging.dicom",
    "imaging.heat_map",
    "imaging.preprocessing",
    "imaging.quality",
    "imaging.reading",
    "model.artifact.folder",
    "model.classifier",
    "model.conversion",
    "model.engine",
    "model.prediction",
    "service",
    "service.drift",
    "service.fetching",
    "service.gunicorn_settings",
    "service.keys",
    "settings.service",
    "settings.training",
    "studies",
    "system.cpus",
    "system.files",
]


@pytest.fixture(scope="module")
def pipfile() -> dict[str, Any]:
    return tomllib.loads((ROOT / "Pipfile").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def lock() -> dict[str, Any]:
    return json.loads((ROOT / "Pipfile.lock").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project_files() -> list[Path]:
    """Every file that is, or would be, committed."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    files = [ROOT / name for name in listing.split("\0") if name]
    return [file for file in files if file.is_file()]


def _canonical(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _pipfile_hash(pipfile: dict[str, Any]) -> str:
    """The hash that pipenv writes into the lock with pip's default configuration."""
    default_source = {
        "url": f"https://{REGISTRY_HOSTS[0]}/simple",
        "verify_ssl": True,
        "name": "pypi",
    }
    names = {"packages": "default", "dev-packages": "develop", "training": "training",
             "tracing": "tracing", "archive": "archive", "distributed": "distributed",
             "bulk": "bulk"}  # fmt: skip
    sections = {
        renamed: {_canonical(name): wish for name, wish in pipfile[category].items()}
        for category, renamed in names.items()
    }
    meta = {"sources": [default_source], "requires": pipfile.get("requires", {})}
    content = json.dumps({"_meta": meta, **sections}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()


def test_pipfile_names_no_source(pipfile: dict[str, Any]) -> None:
    assert set(pipfile) == {
        *("packages", "tracing", "archive", "training", "distributed", "bulk", "dev-packages"),
        "pipenv",
    }


def test_lock_names_no_source(lock: dict[str, Any]) -> None:
    assert lock["_meta"]["sources"] == []
    for name, category in lock.items():
        if name != "_meta":
            for package, entry in category.items():
                assert set(entry) <= {"hashes", "markers", "version", "extras"}, package
                assert entry["hashes"], package


def test_lock_is_up_to_date_with_pipfile(pipfile: dict[str, Any], lock: dict[str, Any]) -> None:
    assert lock["_meta"]["hash"]["sha256"] == _pipfile_hash(pipfile), "run: make lock"


def test_service_does_not_need_training_packages(lock: dict[str, Any]) -> None:
    training_only = {
        "tensorflow",
        "tensorflow-cpu",
        "scikit-learn",
        "pandas",
        "matplotlib",
    }
    assert not training_only & set(lock["default"])
    assert training_only & set(lock["training"])


def test_categories_agree_on_versions(lock: dict[str, Any]) -> None:
    versions: dict[str, set[str]] = {}
    for name, category in lock.items():
        if name != "_meta":
            for package, entry in category.items():
                versions.setdefault(package, set()).add(entry["version"])
    assert {name for name, found in versions.items() if len(found) > 1} <= DIFFERS_BY_CATEGORY


def test_no_file_names_a_package_registry(project_files: list[Path]) -> None:
    hosts = re.compile("|".join(map(re.escape, REGISTRY_HOSTS)).encode())
    assert [file for file in project_files if hosts.search(file.read_bytes())] == []


def test_all_files_except_the_model_are_small(project_files: list[Path]) -> None:
    large = [
        file
        for file in project_files
        if file.stat().st_size > MAX_TRACKED_BYTES and ROOT / "model" not in file.parents
    ]
    assert large == []


def test_scripts_can_be_executed() -> None:
    folders = (ROOT / ".ci", ROOT / "scripts")
    scripts = [ROOT / ".ci" / "run", *(path for each in folders for path in each.glob("*.sh"))]
    assert [script for script in scripts if not os.access(script, os.X_OK)] == []


@pytest.mark.parametrize(
    "module",
    [str(path.relative_to(ROOT)) for path in sorted((ROOT / "mammoscope").rglob("*.py"))],
)
def test_module_has_a_docstring(module: str) -> None:
    assert ast.get_docstring(ast.parse((ROOT / module).read_text(encoding="utf-8")))


# A tenth of a second of every start; they come with the first DICOM file.
DICOM_ONLY = {"pydicom", "imagecodecs"}


@pytest.mark.parametrize("module", [*SERVING, "imaging.dicom.mammography"])
def test_serving_modules_do_not_import_training_packages(module: str) -> None:
    # As gunicorn would: whatever the tests chose as Keras' backend is not passed on.
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    program = f"import sys, mammoscope.{module}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    loaded = {name.partition(".")[0] for name in result.stdout.split()}
    assert loaded.isdisjoint(TRAINING_ONLY)
    if module != "imaging.dicom.mammography":
        assert loaded.isdisjoint(DICOM_ONLY)


def test_commands_are_listed_without_training_packages() -> None:
    # None in sys.modules makes an import fail, as if the package were not installed.
    program = f"""
import sys
sys.modules.update(dict.fromkeys({TRAINING_ONLY!r}))
import runpy
sys.argv = ["mammoscope", "--help"]
runpy.run_module("mammoscope", run_name="__main__")
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "phantoms" in result.stdout


def _make_targets(makefile: str) -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))


def test_make_targets_in_the_docs_exist() -> None:
    pages = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "benchmarks").glob("*.md"),
    ]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    named = set(re.findall(r"(?:`|^\s*(?:\$ )?)make ([a-z][a-z-]*)", text, flags=re.MULTILINE))
    assert {"demo", "test"} <= named
    assert named <= _make_targets((ROOT / "Makefile").read_text(encoding="utf-8"))


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    result = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True)
    listed = set(re.findall(r"^make ([a-z-]+) ", result.stdout, flags=re.MULTILINE))
    assert listed == _make_targets(makefile)
