"""The service as users run it: a gunicorn process, used over HTTP and by test.py."""

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from mammoscope.client import Client
from mammoscope.errors import ServerAnswerError
from mammoscope.model.artifact.folder import CARD_NAME, NETWORK_NAME
from tests.deployment.manifests import INIT
from tests.service_process import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]

RESEARCH_WORDS = "not a medical device"

StartService = Callable[..., Any]


@pytest.fixture
def images(phantom_folder: Path) -> list[Path]:
    return sorted(path for path in phantom_folder.iterdir() if path.suffix in (".jpg", ".png"))


def post(service: Any, data: bytes | Iterator[bytes]) -> requests.Response:
    return requests.post(
        f"{service.address}/predict",
        data=data,
        headers={"Content-Type": "image/png"},
        timeout=PATIENCE_S,
    )


def assert_problem(response: requests.Response, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == code


def test_requests_from_start_to_stop(
    start_service: StartService,
    artifact_folder: Path,
    phantom_folder: Path,
    images: list[Path],
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        metrics = f"127.0.0.1:{free.getsockname()[1]}"
    service = start_service(model=artifact_folder, metrics_bind=metrics)
    service.wait_ready()

    def ask(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, ROOT / "test.py", *arguments, "--server", service.address]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )

    answered = ask(phantom_folder, "--json")
    assert answered.returncode == 0, answered.stdout + answered.stderr
    answers = [json.loads(line) for line in answered.stdout.splitlines()]
    assert [answer["picture"] for answer in answers] == [str(path) for path in images]
    for answer in answers:
        assert answer["model_version"] == "tiny-1"
        assert 0 <= answer["probability"] <= 1
        assert sum(answer["classes"].values()) == pytest.approx(1)

    meier = tmp_path / "meier.jpg"
    meier.write_text("This is no image.")
    mixed = ask(meier, images[0])
    assert mixed.returncode == 1
    assert "refused" in mixed.stdout.splitlines()[1]
    assert f"{answers[0]['probability']:.4f}" in mixed.stdout.splitlines()[2]

    assert_problem(post(service, meier.read_bytes()), 415, "unsupported_image")
    assert post(service, images[0].read_bytes()).status_code == 200
    assert (
        requests.get(f"{service.address}/model", timeout=PATIENCE_S).json()["version"] == "tiny-1"
    )
    assert RESEARCH_WORDS in requests.get(service.address, timeout=PATIENCE_S).text

    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S) as connection:
        connection.sendall(b"meier\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    told = requests.get(f"http://{metrics}/metrics", timeout=PATIENCE_S).text
    for counted in (
        'mammoscope_requests_total{code="",route="/predict",status="200"}',
        'mammoscope_requests_total{code="unsupported_image",route="/predict",status="415"}',
        'mammoscope_requests_total{code="invalid_request",route="none",status="400"}',
        'mammoscope_stage_seconds_count{stage="infer"}',
    ):
        assert counted in told

    workers = service.workers()
    assert len(workers) == 1
    assert "libtensorflow" not in Path(f"/proc/{workers[0]}/maps").read_text()

    assert service.terminate() == 0
    lines = [json.loads(line) for line in service.log.splitlines()]
    assert "model_ready" in {line["event"] for line in lines}
    assert sum(line["event"] == "request" for line in lines) >= len(images)
    assert "meier" not in service.log
    assert "Traceback" not in service.log


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "artifact_not_found"),
    "no card": (lambda folder: (folder / CARD_NAME).unlink(), "artifact_not_found"),
    "broken card": (lambda folder: (folder / CARD_NAME).write_text("{"), "artifact_mismatch"),
    "other network": (
        lambda folder: (folder / NETWORK_NAME).write_bytes(b"PK"),
        "artifact_mismatch",
    ),
}


@pytest.mark.abuse("lifecycle")
@pytest.mark.parametrize("case", DAMAGES)
def test_unusable_model_never_becomes_ready(
    start_service: StartService,
    artifact_folder: Path,
    tmp_path: Path,
    images: list[Path],
    case: str,
) -> None:
    damage, code = DAMAGES[case]
    folder = tmp_path / "meier"
    shutil.copytree(artifact_folder, folder)
    damage(folder)
    service = start_service(model=folder)
    with (
        Client(service.address, timeout_s=PATIENCE_S) as client,
        pytest.raises(ServerAnswerError) as caught,
    ):
        client.wait_ready(PATIENCE_S)
    assert caught.value.problem_code == code
    assert_problem(post(service, images[0].read_bytes()), 503, code)
    assert requests.get(f"{service.address}/healthz", timeout=PATIENCE_S).status_code == 200
    assert service.terminate() == 0
    assert "model_refused" in service.log
    assert "meier" not in service.log


def test_bodies_over_the_limit_are_refused(
    start_service: StartService, artifact_folder: Path, images: list[Path]
) -> None:
    cap = max(path.stat().st_size for path in images)
    service = start_service(model=artifact_folder, max_image_bytes=cap)
    service.wait_ready()
    image = images[0].read_bytes()

    def in_chunks(total: int) -> Iterator[bytes]:
        yield image
        for _ in range((total - len(image)) // 65_536):
            yield bytes(65_536)

    assert post(service, in_chunks(len(image))).status_code == 200
    assert_problem(post(service, bytes(cap + 1)), 413, "image_too_large")
    assert_problem(post(service, bytes(cap + 1_000_000)), 413, "request_too_large")
    assert_problem(post(service, in_chunks(cap + 1_000_000)), 413, "request_too_large")
    assert post(service, image).status_code == 200
    assert service.terminate() == 0


@pytest.mark.abuse("lifecycle")
@pytest.mark.parametrize("prefix", [(), (Path(sys.executable).with_name(INIT[0]), *INIT[1:])])
def test_request_in_flight_is_answered_after_sigterm(
    start_service: StartService,
    artifact_folder: Path,
    images: list[Path],
    prefix: tuple[str | Path, ...],
) -> None:
    service = start_service(model=artifact_folder, graceful_timeout_s=PATIENCE_S, prefix=prefix)
    service.wait_ready()
    image = images[0].read_bytes()
    head = (
        "POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
        f"Content-Length: {len(image)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S) as connection:
        connection.sendall(head.encode() + image[:1000])
        # After this answer, the worker has accepted the earlier connection.
        assert requests.get(f"{service.address}/healthz", timeout=PATIENCE_S).status_code == 200
        service.process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            service.process.wait(1)
        connection.sendall(image[1000:])
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    assert service.process.wait(PATIENCE_S) == 0


def test_images_are_read_in_forks_of_the_worker(
    start_service: StartService, artifact_folder: Path, images: list[Path]
) -> None:
    service = start_service(model=artifact_folder)
    service.wait_ready()
    assert post(service, images[0].read_bytes()).status_code == 200
    ancestors = [service.process.pid]
    for _ in ("worker", "forkserver", "reading process"):
        (child,) = children(ancestors[-1])
        ancestors.append(child)
    programs = {Path(f"/proc/{number}/cmdline").read_bytes() for number in ancestors}
    assert len(programs) == 1
    for number in ancestors[2:]:
        files = [str(link.readlink()) for link in Path(f"/proc/{number}/fd").iterdir()]
        sockets = [name for name in files if name.startswith("socket:")]
        assert len(sockets) == (number == ancestors[2])  # the forkserver's, to the worker


def children(number: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{number}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def test_invalid_settings_are_refused(start_service: StartService) -> None:
    service = start_service(request_threads="many")
    assert service.process.wait(PATIENCE_S) != 0
    assert "MAMMOSCOPE_REQUEST_THREADS: " in service.log
    assert "Traceback" not in service.log
