"""The installed package: the wheel's content, and its use outside the checkout."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

import mammoscope
from mammoscope.cli.extras import EXTRAS
from mammoscope.client import Client

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PIPFILE = tomllib.loads((ROOT / "Pipfile").read_text("utf-8"))
READY_WITHIN_S = 120


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "mammoscope", source / "mammoscope", symlinks=True, ignore=ignore)
    (source / "model").symlink_to(ROOT / "model")
    for name in ("pyproject.toml", "README.md", "LICENSE", "test.py", "train.py", "predict.py"):
        shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", *options, source], check=True, capture_output=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and with the packages of this environment."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    options = ["--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "install", *options, wheel], check=True, capture_output=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def environment(**settings: object) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MAMMOSCOPE_", "PYTHON"))}
    kept["MAMMOSCOPE_CACHE"] = os.environ["MAMMOSCOPE_CACHE"]
    kept.pop("KERAS_BACKEND", None)
    return kept | {f"MAMMOSCOPE_{name.upper()}": str(value) for name, value in settings.items()}


def run(folder: Path, *words: str | Path, **settings: object) -> str:
    ended = subprocess.run(
        words,
        cwd=folder,
        env=environment(**settings),
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_wheel_contains_the_package_and_the_model(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
        card = content.read("mammoscope/_model/card.json")
    assert card == (ROOT / "model" / "card.json").read_bytes()
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "mammoscope"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    packaged = {name for name in listing if (ROOT / name).is_file()}
    assert {name for name in names if ".dist-info/" not in name} == {
        *packaged,
        "mammoscope/_model/model.keras",
        "mammoscope/_model/card.json",
        "mammoscope/_model/MODEL_CARD.md",
    }
    assert "mammoscope/py.typed" in names


def test_wheel_has_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        (name,) = [each for each in content.namelist() if each.endswith("/METADATA")]
        metadata = content.read(name).decode()
    assert f"\nVersion: {mammoscope.__version__}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    extras = set(re.findall(r"^Provides-Extra: (\S+)$", metadata, re.MULTILINE))
    assert extras == {"archive", "bulk", "distributed", "train", "tracing", "dev"}


def test_installed_command_works_in_any_folder(
    bare: Path, tmp_path: Path, artifact_folder: Path
) -> None:
    command = bare / "mammoscope"
    where = run(tmp_path, bare / "python", "-c", "import mammoscope; print(mammoscope.__file__)")
    assert Path(where.strip()).is_relative_to(bare.parent)
    assert run(tmp_path, command, "--version").split()[-1] == mammoscope.__version__
    assert "serve" in run(tmp_path, command, "--help")
    assert run(tmp_path, bare / "python", "-m", "mammoscope", "--help") == run(
        tmp_path, command, "--help"
    )
    run(tmp_path, command, "phantoms", ".", "--count", "2")
    (image,) = tmp_path.glob("*_002_*")
    table = run(tmp_path, command, "predict", image.name).splitlines()
    assert re.fullmatch(rf"0\.\d{{3}} +(no )?tumour +{image.name}", table[1])
    script = f"import mammoscope as m; print(m.load().predict({image.name!r}).probability)"
    exact = run(tmp_path, bare / "python", "-c", script)
    assert float(table[1].split()[0]) == pytest.approx(float(exact), abs=5e-4)
    # Another model: an option, or the setting.
    for words, settings in (
        (["--model", str(artifact_folder)], {}),
        ([], {"model": artifact_folder}),
    ):
        lines = run(tmp_path, command, "predict", *words, "--json", "-", image.name, **settings)
        assert '"model_version": "tiny-1"' in lines


def test_installed_service_works_in_any_folder(bare: Path, tmp_path: Path) -> None:
    run(tmp_path, bare / "mammoscope", "phantoms", ".", "--count", "1")
    (image,) = tmp_path.glob("*.jpg")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = environment(bind=address, metrics_bind="", drain_s=0)
    with (tmp_path / "log").open("wb") as log:
        service = subprocess.Popen(
            [bare / "mammoscope", "serve"], cwd=tmp_path, env=settings, stdout=log, stderr=log
        )
    try:
        with Client(f"http://{address}") as client:
            client.wait_ready(READY_WITHIN_S)
            answer = client.predict(image)
        assert 0 <= answer["probability"] <= 1
        service.send_signal(signal.SIGTERM)
        assert service.wait(READY_WITHIN_S) == 0, (tmp_path / "log").read_text()
    finally:
        service.kill()
        service.wait()


def test_import_is_fast() -> None:
    program = "import sys, mammoscope; print(*sys.modules)"
    loaded = set(run(ROOT, sys.executable, "-c", program).split())
    assert loaded.isdisjoint({"numpy", "openvino", "pydantic", "cv2", "keras"})


def _pipenv_requirement(name: str, wish: Any) -> str:
    """A line of Pipfile as pyproject.toml writes it."""
    if isinstance(wish, str):
        return name if wish == "*" else f"{name}{wish}"
    extras = f"[{','.join(wish['extras'])}]" if "extras" in wish else ""
    version = "" if wish["version"] == "*" else wish["version"]
    markers = f"; {wish['markers']}" if "markers" in wish else ""
    return f"{name}{extras}{version}{markers}"


def test_pyproject_and_pipfile_name_the_same_packages() -> None:
    listed = {
        "packages": PROJECT["dependencies"],
        "tracing": PROJECT["optional-dependencies"]["tracing"],
        "archive": PROJECT["optional-dependencies"]["archive"],
        "training": PROJECT["optional-dependencies"]["train"],
        "distributed": PROJECT["optional-dependencies"]["distributed"],
        "bulk": PROJECT["optional-dependencies"]["bulk"],
        "dev-packages": PROJECT["optional-dependencies"]["dev"],
    }
    for category, requirements in listed.items():
        wanted = [_pipenv_requirement(*each) for each in PIPFILE[category].items()]
        assert sorted(requirements) == sorted(wanted), category


def test_extras_provide_the_packages_that_commands_need() -> None:
    distributions = packages_distributions()
    for package, extra in EXTRAS.items():
        names = {name.lower() for name in distributions[package]}
        brought = {each.partition("[")[0] for each in PROJECT["optional-dependencies"][extra]}
        assert names & brought, package
