"""Bulk prediction on a real Ray of two actors: whole, resumed, and with an actor killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet
import pytest
import ray

from mammoscope.bulk import running
from mammoscope.bulk.predictor import BulkJob
from mammoscope.bulk.running import actors, on_ray, predict_in_bulk
from mammoscope.model.artifact.folder import load_artifact
from tests.bulk.engines import slow
from tests.bulk.s3 import s3_server
from tests.fake_engine import CARD, encoded

# Ray's own warnings, and the sockets and processes that it leaves to be collected.
pytestmark = pytest.mark.filterwarnings("ignore")

ROOT = Path(__file__).resolve().parents[2]
KEY = bytes(range(32))
FILES = 60


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """An S3 server, whose address Ray's workers inherit."""
    with s3_server() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment


@pytest.fixture(scope="module")
def ray_address(request: pytest.FixtureRequest) -> Iterator[str]:
    """A Ray of this machine, as the command starts it."""
    with suppress(pytest.skip.Exception):  # only the test of S3 needs it
        request.getfixturevalue("s3")
    with on_ray(None):
        yield ray.get_runtime_context().gcs_address


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Small images and one bad file."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(FILES - 1):
        (folder / f"{number:03d}.png").write_bytes(encoded(grey=number))
    (folder / "bad.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def job(images: Path, tmp_path: Path) -> BulkJob:
    (tmp_path / "pids").mkdir()
    return BulkJob(
        str(images), str(tmp_path / "out"), tmp_path / "pids", "default", KEY, identifiers=True
    )


def logits(output: str | Path) -> dict[str, float | None]:
    table = pyarrow.parquet.read_table(f"{output}", filters=[("level", "==", "image")])
    assert len(table) == len(set(table["file"].to_pylist()))
    return dict(zip(table["file"].to_pylist(), table["logit"].to_pylist(), strict=True))


def killing_once(job: BulkJob, killed: list[int]) -> threading.Thread:
    """A thread that kills a busy actor once there is a part; its process is added to `killed`."""
    out = Path(job.output)

    def kill() -> None:
        while not list(out.glob("level=image/part-*")):
            time.sleep(0.05)
        busy = max(job.model.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.kill(int(busy.name), signal.SIGKILL)
        killed.append(int(busy.name))

    return threading.Thread(target=kill)


def test_a_killed_actor_loses_nothing(
    ray_address: str, job: BulkJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Many shards, however fast the machine is.
    monkeypatch.setattr(running, "images_in", lambda image_s: 8)
    killed: list[int] = []
    killer = killing_once(job, killed)
    killer.start()
    result = predict_in_bulk(job, CARD, load=slow)
    killer.join()
    assert len(killed) == 1
    assert not psutil.pid_exists(killed[0])
    assert (result.files, result.refused, result.predicted) == (FILES, 1, FILES)
    found = logits(job.output)
    assert len(found) == FILES
    for number in range(FILES - 1):
        assert found[f"{number:03d}.png"] == pytest.approx(number / 255, abs=1e-6)
    assert found["bad.png"] is None
    manifest = json.loads((Path(job.output) / "_manifest.json").read_text())
    assert manifest["files"] == manifest["rows"] == sum(p["rows"] for p in manifest["parts"])
    assert len(manifest["parts"]) > FILES // 8
    resumed_after_changes(job, found)


def resumed_after_changes(job: BulkJob, before: dict[str, float | None]) -> None:
    """The same command computes nothing; after a change, the shard of the changed file."""
    parts = {path: path.stat().st_mtime_ns for path in Path(job.output).glob("level=image/*")}
    assert predict_in_bulk(job, CARD, load=slow).predicted == 0
    assert parts == {p: p.stat().st_mtime_ns for p in Path(job.output).glob("level=image/*")}
    (Path(job.source) / "bad.png").write_bytes(encoded(grey=255))
    (Path(job.source) / "000.png").unlink()
    result = predict_in_bulk(job, CARD, load=slow)
    assert (result.files, result.refused) == (FILES - 1, 0)
    assert 0 < result.predicted < FILES // 2
    after = logits(job.output)
    assert after == {k: v for k, v in before.items() if k != "000.png"} | {"bad.png": 1.0}


def test_ray_listens_on_the_loopback_interface_only_for_people(ray_address: str) -> None:
    assert actors() >= 1
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    url = ray._private.worker._global_node.webui_url
    host, _, port = url.partition(":")
    assert host == "127.0.0.1"
    bound = {
        each.laddr.ip
        for each in psutil.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr.port == int(port)
    }
    assert bound == {"127.0.0.1"}


def command(address: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "mammoscope", "bulk", *words, "--address", address],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


def test_the_command_predicts_from_s3_to_s3(
    ray_address: str,
    s3: dict[str, str],
    phantom_folder: Path,
    compiled_folder: Path,
    tmp_path: Path,
) -> None:
    files, _ = pyarrow.fs.FileSystem.from_uri("s3://bulk?allow_bucket_creation=true")
    files.create_dir("bulk")
    pyarrow.fs.copy_files(str(phantom_folder), "bulk/images", destination_filesystem=files)
    words = ["s3://bulk/images", "--output", "s3://bulk/out", "--model", str(compiled_folder)]
    refused = command(ray_address, *words)
    assert refused.returncode == 2
    assert "--id-key FILE" in refused.stderr
    words += ["--id-key", str(tmp_path / "key"), "--identifiers"]
    first = command(ray_address, *words)
    assert first.returncode == 0, first.stderr
    assert first.stdout == (
        "6 images, of which 0 were refused and 0 were there already; 0 breasts, 0 patients.\n"
    )
    table = pyarrow.parquet.read_table("bulk/out/level=image", filesystem=files)
    assert isinstance(table, pa.Table)
    engine_version = load_artifact(compiled_folder).require_card().version
    assert set(table["model_version"].to_pylist()) == {engine_version}
    names = [path.name for path in phantom_folder.iterdir() if path.suffix in (".png", ".jpg")]
    assert sorted(table["file"].to_pylist()) == sorted(names)
    again = command(ray_address, *words)
    assert "6 were there already" in again.stdout
    (tmp_path / "other").write_bytes(bytes(32))
    other = command(ray_address, *words, "--id-key", str(tmp_path / "other"))
    assert other.returncode == 1
    assert "results of another key" in other.stderr


def test_errors_of_the_source_are_those_of_predict(ray_address: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in ("empty", "missing"):
        ended = command(ray_address, str(tmp_path / source), "--output", str(tmp_path / "out"))
        assert ended.returncode == 1
        assert "Traceback" not in ended.stderr
        assert "images" in ended.stderr or "nothing at SOURCE" in ended.stderr


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1", "nonsense", "127.0.0.1:99999"])
def test_no_cluster_at_the_address(tmp_path: Path, images: Path, address: str) -> None:
    ended = command(address, str(images), "--output", str(tmp_path / "out"))
    assert ended.returncode == 2
    assert "No Ray cluster answers" in ended.stderr
