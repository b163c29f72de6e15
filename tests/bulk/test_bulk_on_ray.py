"""Bulk prediction on a real Ray of two actors: whole, resumed, and with an actor killed."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import psutil
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet
import pytest
import ray

from mammoscope.__main__ import main
from mammoscope.bulk.cluster import on_ray
from mammoscope.bulk.dataset import ORIGIN_NAME, Origin, Store
from mammoscope.bulk.predictor import BulkJob
from mammoscope.bulk.running import _Report, actors, predict_in_bulk
from mammoscope.model.artifact.folder import load_artifact
from tests.bulk.engines import IMAGE_S, slow
from tests.fake_engine import CARD, encoded

# Ray's own warnings, and the sockets and processes that it leaves to be collected.
pytestmark = pytest.mark.filterwarnings("ignore")

ROOT = Path(__file__).resolve().parents[2]
KEY = bytes(range(32))
FILES = 60
SHARD_S = 0.5
MOST = int(SHARD_S / (IMAGE_S / 2))
"""Images in a shard at most, however fast the machine is: an actor predicts two at a time."""


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
        source=str(images),
        output=str(tmp_path / "out"),
        model=tmp_path / "pids",
        operating_point="default",
        key=KEY,
        identifiers=True,
        shard_s=SHARD_S,
    )


def logits(output: str | Path) -> dict[str, float | None]:
    table = pyarrow.parquet.read_table(f"{output}", filters=[("level", "==", "image")])
    assert len(table) == len(set(table["file"].to_pylist()))
    return dict(zip(table["file"].to_pylist(), table["logit"].to_pylist(), strict=True))


def killing_once(job: BulkJob, killed: list[int]) -> threading.Thread:
    """A thread that kills a busy actor after the first shard; its process is added to `killed`."""
    out = Path(job.output)

    def kill() -> None:
        while len(list(out.glob("level=image/part-*"))) < 2:
            time.sleep(0.05)
        busy = max(job.model.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.kill(int(busy.name), signal.SIGKILL)
        killed.append(int(busy.name))

    return threading.Thread(target=kill)


def test_a_killed_actor_loses_nothing(ray_address: str, job: BulkJob) -> None:
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
    assert json.loads((Path(job.output) / "_origin.json").read_text())["shard_images"] <= MOST
    assert len(manifest["parts"]) > FILES // MOST
    resumed_after_changes(job, found)


def resumed_after_changes(job: BulkJob, before: dict[str, float | None]) -> None:
    """The same command computes the shards of changed files, and no others."""
    parts = {path: path.stat().st_mtime_ns for path in Path(job.output).glob("level=image/*")}
    (Path(job.source) / "bad.png").write_bytes(encoded(grey=255))
    (Path(job.source) / "000.png").unlink()
    result = predict_in_bulk(job, CARD, load=slow)
    assert (result.files, result.refused) == (FILES - 1, 0)
    assert 0 < result.predicted < FILES // 2
    kept = [path for path in parts if path.exists()]
    assert len(kept) > len(parts) // 2
    assert all(path.stat().st_mtime_ns == parts[path] for path in kept)
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


def command(address: str, *words: object) -> list[str]:
    return ["bulk", *map(str, words), "--address", address]


@pytest.mark.usefixtures("s3")
def test_the_command_predicts_from_s3_to_s3(
    ray_address: str,
    phantom_folder: Path,
    compiled_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files, _ = pyarrow.fs.FileSystem.from_uri("s3://bulk?allow_bucket_creation=true")
    files.create_dir("bulk")
    pyarrow.fs.copy_files(str(phantom_folder), "bulk/images", destination_filesystem=files)
    words = ["s3://bulk/images", "--output", "s3://bulk/out", "--model", compiled_folder]
    assert main(command(ray_address, *words)) == 2
    assert "--id-key FILE" in capsys.readouterr().err
    words += ["--id-key", tmp_path / "key", "--identifiers"]
    first = subprocess.run(
        [sys.executable, "-m", "mammoscope", *command(ray_address, *words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert first.returncode == 0, first.stderr
    assert first.stdout == (
        "6 images, of which 0 were refused and 0 were there already; 0 breasts, 0 patients.\n"
    )
    table = pyarrow.parquet.read_table("bulk/out/level=image", filesystem=files)
    assert isinstance(table, pa.Table)
    card = load_artifact(compiled_folder).require_card()
    assert set(table["model_version"].to_pylist()) == {card.version}
    names = [path.name for path in phantom_folder.iterdir() if path.suffix in (".png", ".jpg")]
    assert sorted(table["file"].to_pylist()) == sorted(names)
    key = (tmp_path / "key").read_bytes()
    job = BulkJob("s3://bulk/images", "s3://bulk/out", compiled_folder, "default", key, True)
    again = predict_in_bulk(job, card)
    assert (again.files, again.predicted) == (6, 0)
    (tmp_path / "other").write_bytes(bytes(32))
    assert main(command(ray_address, *words, "--id-key", tmp_path / "other")) == 1
    assert "results of another key" in capsys.readouterr().err


def test_errors_of_the_source_are_those_of_predict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are reported before Ray starts, or here: before the address is tried."""
    (tmp_path / "empty").mkdir()
    for source in ("empty", "missing", "missing/*.png"):
        words = (tmp_path / source, "--output", tmp_path / "out")
        assert main(command("127.0.0.1:1", *words)) == 1
        error = capsys.readouterr().err
        assert "images" in error or "nothing at SOURCE" in error
        assert not (tmp_path / "out").exists()


def test_outputs_that_cannot_be_used_are_refused_before_ray_starts(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusal(output: object, *more: object) -> str:
        assert main(command("127.0.0.1:1", images, "--output", output, *more)) == 2
        return capsys.readouterr().err

    assert "its folder does not exist" in refusal(tmp_path / "missing" / "out")
    key = tmp_path / "key"
    assert "belongs to one process" in refusal("memory://out", "--id-key", key)
    origin = Origin("1", "0" * 64, "default", 0.5, False, "source", "key", 6)
    output = tmp_path / "out"
    Store(str(output)).write_json(ORIGIN_NAME, asdict(origin))
    assert "the key of their pseudonyms is missing" in refusal(output)
    assert not (tmp_path / "out.key").exists()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").touch()
    assert main(command("127.0.0.1:1", images, "--output", tmp_path / "foreign")) == 1
    assert not (tmp_path / "foreign.key").exists()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1", "nonsense", "127.0.0.1:99999"])
def test_no_cluster_at_the_address(
    tmp_path: Path, images: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(address, images, "--output", tmp_path / "out")) == 2
    assert "No Ray cluster answers" in capsys.readouterr().err


def test_counting_ends_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a command that fails would first count the rest of a million files."""
    endless = SimpleNamespace(entries=lambda: itertools.repeat(None))
    monkeypatch.setattr("mammoscope.bulk.running.open_source", lambda _: endless)
    with _Report("source") as report:
        report.advance(1)
    assert report._counting is not None
    assert report._counting.result(timeout=10) >= 0
