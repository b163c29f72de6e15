"""Compiled networks are made once, cached, and made again if they cannot be trusted."""

import logging
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mammoscope.errors import ArtifactMismatchError, CompilationError, StorageError
from mammoscope.model import cache as compiled
from mammoscope.model.artifact.folder import NETWORK_NAME, Artifact, load_artifact
from mammoscope.model.cache import Origin, compiled_network, write_compiled
from mammoscope.model.engine import load_engine, make_engine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def artifact(artifact_folder: Path) -> Artifact:
    return load_artifact(artifact_folder)


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Records the networks that are converted."""
    converted = []
    convert = compiled.convert_network

    def recording(network: Path, ranges: dict[str, float] | None) -> object:
        converted.append(network)
        return convert(network, ranges)

    monkeypatch.setattr(compiled, "convert_network", recording)
    return converted


def scores(artifact: Artifact, cache: Path) -> list[float]:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 96, 72), np.uint8)
    logits: list[float] = load_engine(artifact, cache=cache).infer(pixels).logits.tolist()
    return logits


def entries(cache: Path) -> list[Path]:
    return [path for path in (cache / "networks").iterdir() if path.is_dir()]


def test_a_network_is_compiled_once_and_logged(
    artifact: Artifact, tmp_path: Path, conversions: list[Path], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    first = scores(artifact, tmp_path)
    assert "Compiling model tiny-1 (about 5 s, once)." in caplog.text
    caplog.clear()
    assert scores(artifact, tmp_path) == first
    assert len(conversions) == 1
    assert caplog.text == ""
    (kept,) = entries(tmp_path)
    assert kept.stat().st_mode & 0o777 == kept.parent.stat().st_mode & 0o777 == 0o700


def test_every_part_of_the_origin_changes_the_key(artifact: Artifact):
    origin = Origin.of(artifact)
    keys = {
        origin.model_copy(update=change).key
        for change in (
            {},
            {"source_sha256": "0" * 64},
            {"precision": "bfloat16"},
            {"ranges_sha256": "0" * 64},
            {"converter": origin.converter + 1},
            {"keras": "0"},
            {"openvino": "0"},
        )
    }
    assert len(keys) == 7


def test_both_precisions_can_be_cached(artifact: Artifact, tmp_path: Path):
    for precision in ("float32", "bfloat16"):
        compiled_network(Artifact(artifact.network, artifact.card, precision), tmp_path)
    sizes = sorted((kept / "network.bin").stat().st_size for kept in entries(tmp_path))
    assert len(sizes) == 2
    assert sizes[0] < sizes[1]


def test_concurrent_threads_compile_a_network_once(
    artifact: Artifact, tmp_path: Path, conversions: list[Path]
):
    barrier = threading.Barrier(4)

    def load(_: int) -> list[float]:
        barrier.wait()
        return scores(artifact, tmp_path)

    with ThreadPoolExecutor(4) as pool:
        assert len({tuple(found) for found in pool.map(load, range(4))}) == 1
    assert len(conversions) == 1


def test_concurrent_processes_compile_a_network_once(
    artifact: Artifact, artifact_folder: Path, tmp_path: Path
):
    program = (
        "import logging, sys\n"
        "from pathlib import Path\n"
        "from mammoscope.model.engine import load_engine\n"
        "logging.basicConfig(level=logging.INFO, format='%(message)s')\n"
        "load_engine(Path(sys.argv[1]), cache=Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", program, str(artifact_folder), str(tmp_path)]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    logs = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert "".join(logs).count("Compiling") == 1


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def overwrite(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9] + b"?" * 9)


@pytest.mark.parametrize("name", ["network.xml", "network.bin", "network.json"])
@pytest.mark.parametrize("damage", [cut, overwrite, Path.unlink])
def test_a_damaged_network_is_compiled_again(
    damage: Callable[[Path], None],
    name: str,
    artifact: Artifact,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
):
    expected = scores(artifact, tmp_path)
    (kept,) = entries(tmp_path)
    damage(kept / name)
    caplog.clear()
    assert scores(artifact, tmp_path) == expected
    assert "damaged; compiling it again" in caplog.text
    caplog.clear()
    assert scores(artifact, tmp_path) == expected
    assert caplog.text == ""


def test_a_killed_process_leaves_no_incomplete_network(artifact: Artifact, tmp_path: Path):
    """Its files have another name, and its lock ends with it."""
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from mammoscope.model import cache\n"
        "from mammoscope.model.artifact.folder import load_artifact\n"
        "def die(network, ranges):\n"
        "    os._exit(9)\n"
        "cache.convert_network = die\n"
        "cache.compiled_network(load_artifact(Path(sys.argv[1])), Path(sys.argv[2]))\n"
    )
    folder = artifact.network.parent
    command = [sys.executable, "-c", program, str(folder), str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=300).returncode == 9
    (left,) = entries(tmp_path)
    assert left.name.startswith(".")
    assert np.isfinite(scores(artifact, tmp_path)).all()


def unwritable(cache: Path) -> None:
    cache.write_text("a file where a folder should be")


def open_to_others(cache: Path) -> None:
    (cache / "networks").mkdir(parents=True)
    (cache / "networks").chmod(0o777)


def elsewhere(cache: Path) -> None:
    cache.mkdir()
    (cache / "other").mkdir(mode=0o700)
    (cache / "networks").symlink_to(cache / "other")


@pytest.mark.parametrize("spoil", [unwritable, open_to_others, elsewhere])
def test_without_a_cache_the_model_is_still_served(
    artifact: Artifact,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    conversions: list[Path],
    spoil,
):
    expected = scores(artifact, tmp_path / "good")
    bad = tmp_path / "bad"
    spoil(bad)
    for _ in range(2):
        assert scores(artifact, bad) == expected
    assert "The cache folder cannot be used" in caplog.text
    assert "MAMMOSCOPE_CACHE" in caplog.text
    assert str(tmp_path) not in caplog.text
    assert len(conversions) == 3


def test_a_full_disk_does_not_prevent_serving(
    artifact: Artifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    expected = scores(artifact, tmp_path / "good")

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mammoscope.system.files._flush", full)
    assert scores(artifact, tmp_path / "full") == expected
    assert "(No space left on device)" in caplog.text
    assert entries(tmp_path / "full") == []


def test_a_user_without_a_home_is_served(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.delenv("MAMMOSCOPE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert compiled_network(artifact) is not None
    assert "no home folder" in caplog.text


def resident_kb(name: str) -> int:
    """Memory of this process that holds pages of mapped files called `name`."""
    counted, kilobytes = False, 0
    for line in Path("/proc/self/smaps").read_text("utf-8").splitlines():
        if re.match("[0-9a-f]+-[0-9a-f]+ ", line):
            counted = line.endswith(f"/{name}")
        elif counted and line.startswith("Rss:"):
            kilobytes += int(line.split()[1])
    return kilobytes


def test_an_engine_does_not_hold_the_weights_twice(artifact: Artifact, tmp_path: Path):
    network = compiled_network(artifact, tmp_path)
    pixels = np.zeros((1, *artifact.card.input_size), np.uint8)
    engine = make_engine(network, artifact.card)
    before = resident_kb("network.bin")
    expected = engine.infer(pixels).logits
    network.release_pages()
    assert resident_kb("network.bin") < before / 10
    assert engine.infer(pixels).logits == expected
    # The pages come back where they are needed.
    assert make_engine(network, artifact.card).infer(pixels).logits == expected


class TestFolder:
    """The compiled network in a model folder takes precedence over the cache."""

    def test_nothing_is_compiled(
        self, compiled_folder: Path, tmp_path: Path, conversions: list[Path]
    ):
        scores(load_artifact(compiled_folder), tmp_path / "cache")
        assert conversions == []
        assert not (tmp_path / "cache").exists()

    @pytest.fixture
    def spoiled(self, compiled_folder: Path, tmp_path: Path) -> Artifact:
        folder = tmp_path / "model"
        shutil.copytree(compiled_folder, folder)
        weights = folder / "compiled" / "network.bin"
        weights.write_bytes(weights.read_bytes()[:-1] + b"?")
        return load_artifact(folder)

    def test_a_damaged_network_is_ignored(
        self,
        spoiled: Artifact,
        artifact: Artifact,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ):
        assert scores(spoiled, tmp_path / "cache") == scores(artifact, tmp_path / "cache")
        assert "in the model folder is damaged" in caplog.text

    def test_without_keras_a_damaged_network_is_refused(
        self, spoiled: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(compiled, "_version", lambda name: None if name == "keras" else "1")
        with pytest.raises(CompilationError, match="compile --output"):
            compiled_network(spoiled, tmp_path / "cache")

    def test_without_keras_any_version_of_keras_is_accepted(
        self, compiled_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        there = compiled._version
        monkeypatch.setattr(
            compiled, "_version", lambda name: None if name == "keras" else there(name)
        )
        compiled_network(load_artifact(compiled_folder), tmp_path / "cache")
        monkeypatch.setattr(compiled, "CONVERTER_VERSION", compiled.CONVERTER_VERSION + 1)
        with pytest.raises(CompilationError):
            compiled_network(load_artifact(compiled_folder), tmp_path / "cache")

    def test_an_unwritable_folder_is_reported(self, artifact: Artifact, tmp_path: Path):
        with pytest.raises(StorageError):
            write_compiled(artifact, tmp_path / "missing")

    def test_an_invalid_network_leaves_nothing(self, tmp_path: Path):
        network = tmp_path / NETWORK_NAME
        network.write_bytes(b"no network")
        with pytest.raises(ArtifactMismatchError, match="damaged"):
            write_compiled(Artifact(network, None), tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [NETWORK_NAME]
