"""The client and test.py, with small servers that give fixed answers."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mammoscope.client import Client
from mammoscope.errors import ServerAnswerError, ServerUnreachableError, UnreadableFileError
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.studies import Placement

ROOT = Path(__file__).resolve().parents[1]
ANSWER = {"label": "tumour", "probability": 0.75, "warnings": ["Inverted."], "model_version": "1"}
PROBLEM = {"code": "no_breast", "detail": "There is nothing that could be a breast.", "status": 422}
NOT_READY = {
    "code": "not_ready",
    "detail": "The model is still being loaded. Try again in a few seconds.",
    "status": 503,
}
RESULT = {"label": "tumour", "probability": 0.5, "images": 2}
STUDY = {
    "images": [
        {"file": "1", "laterality": "L", **ANSWER},
        {"file": "2", "error": {"code": "no_breast", "message": "Nothing there."}},
    ],
    "breasts": [
        {**RESULT, "patient": "A", "laterality": "L", "missing_views": ["MLO"], "images": 1}
    ],
    "patients": [{"patient": "A", "missing_views": [], **RESULT}],
}
BROKEN = {"code": "artifact_mismatch", "detail": "Another network.", "status": 503}


class Server(ThreadingHTTPServer):
    """Answers /readyz from `ready`, one after another, and other paths by `answer`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[bytes] = []
        self.ready: list[tuple[int, Any]] = [(200, {"status": "ready"})]
        self.answer: Callable[[bytes], tuple[int, Any]] = lambda body: (200, ANSWER)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        ready = self.server.ready
        self.reply(*(ready.pop(0) if len(ready) > 1 else ready[0]))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(body)
        self.reply(*self.server.answer(body))

    def reply(self, status: int, content: Any) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def nobody() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "meier.jpg"
    path.write_bytes(b"\xff\xd8\xff image")
    return path


def test_file_is_sent_without_its_name(server: Server, image: Path) -> None:
    with Client(server.address) as client:
        assert client.predict(image) == ANSWER
    (body,) = server.bodies
    assert image.read_bytes() in body
    assert b'name="file"' in body
    assert b"meier" not in body


def test_url_is_sent_as_json(server: Server) -> None:
    with Client(server.address + "/") as client:
        assert client.predict("https://images.example/a.jpg") == ANSWER
    assert json.loads(server.bodies[0]) == {"url": "https://images.example/a.jpg"}


def test_age_is_sent(server: Server, image: Path) -> None:
    with Client(server.address) as client:
        client.predict(image, age=57)
        client.predict("https://images.example/a.jpg", age=57)
    assert b'name="age"\r\n\r\n57\r\n' in server.bodies[0]
    assert json.loads(server.bodies[1]) == {"url": "https://images.example/a.jpg", "age": 57}


def test_refusal_has_the_servers_message(server: Server, image: Path) -> None:
    server.answer = lambda body: (422, PROBLEM)
    with Client(server.address) as client, pytest.raises(ServerAnswerError) as caught:
        client.predict(image)
    assert str(caught.value) == PROBLEM["detail"]
    assert caught.value.status == 422
    assert caught.value.problem_code == "no_breast"


@pytest.mark.parametrize(
    ("status", "content"),
    [(502, b"<html>Bad gateway</html>"), (200, b"hello"), (200, []), (500, {}), (418, {"code": 1})],
)
def test_invalid_answers_are_reported(
    server: Server, image: Path, status: int, content: Any
) -> None:
    server.answer = lambda body: (status, content)
    with Client(server.address) as client, pytest.raises(ServerAnswerError) as caught:
        client.predict(image)
    assert caught.value.status == status
    assert caught.value.problem_code is None
    assert "gateway" not in str(caught.value)


@pytest.fixture
def images(image: Path) -> list[Path]:
    second = image.with_name("schulze.dcm")
    second.write_bytes(b"DICM second")
    return [image, second]


def test_study_is_sent_in_order_without_names(server: Server, images: list[Path]) -> None:
    server.answer = lambda body: (200, STUDY)
    placements = [Placement("A", Laterality.LEFT, View("CC")), Placement()]
    with Client(server.address) as client:
        study = client.study(list(zip(images, placements, strict=True)))
    assert [image["file"] for image in study["images"]] == list(map(str, images))
    assert study["breasts"] == STUDY["breasts"]
    (body,) = server.bodies
    assert b"meier" not in body
    assert b"schulze" not in body
    assert body.index(images[0].read_bytes()) < body.index(images[1].read_bytes())
    assert body.count(b'name="file"') == 2
    for field, value in ((b"patient", b"A"), (b"laterality", b"L"), (b"view", b"CC")):
        given = body.index(b'name="%s"\r\n\r\n%s\r\n' % (field, value))
        assert given < body.index(b'name="%s"\r\n\r\n\r\n' % field)


def test_study_is_sent_completely_or_not_at_all(server: Server, images: list[Path]) -> None:
    server.answer = lambda body: (200, STUDY)
    missing = images[0].with_name("nobody.dcm")
    with Client(server.address) as client:
        with pytest.raises(UnreadableFileError, match="File 2 of 2") as caught:
            client.study([(images[0], Placement()), (missing, Placement())])
        with pytest.raises(UnreadableFileError, match="no images"):
            client.study([])
        assert "nobody" not in str(caught.value)
        assert server.bodies == []
        with pytest.raises(ServerAnswerError, match="every image"):
            client.study([(images[0], Placement())])


def test_unreadable_files_are_reported(server: Server, tmp_path: Path) -> None:
    with Client(server.address) as client:
        for path in (tmp_path / "meier.jpg", tmp_path):
            with pytest.raises(UnreadableFileError) as caught:
                client.predict(path)
            assert path.name not in str(caught.value)
    assert server.bodies == []


def test_unreachable_server_is_reported(nobody: str, image: Path) -> None:
    for address in (nobody, "localhost", "ftp://127.0.0.1", "http://", "http://[::1"):
        with Client(address) as client, pytest.raises(ServerUnreachableError):
            client.predict(image)


def test_timeout_is_reported(image: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Client(address, timeout_s=0.2) as client, pytest.raises(ServerUnreachableError):
            client.predict(image)


def test_proxies_of_the_environment_are_not_used(
    server: Server, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", nobody)
    monkeypatch.setenv("http_proxy", nobody)
    with Client(server.address) as client:
        assert client.model() == {"status": "ready"}


def test_client_waits_for_a_server(server: Server, nobody: str) -> None:
    server.ready = [(503, NOT_READY), (503, NOT_READY), (200, {"status": "ready"})]
    with Client(server.address) as client:
        client.wait_ready(10)
    assert len(server.ready) == 1
    with Client(nobody) as client, pytest.raises(ServerUnreachableError):
        client.wait_ready(0.3)


def test_waiting_ends_if_the_server_has_failed(server: Server) -> None:
    server.ready = [(503, NOT_READY), (503, BROKEN)]
    with Client(server.address) as client, pytest.raises(ServerAnswerError, match="network"):
        client.wait_ready(60)


# test.py


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "test.py", *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert "Traceback" not in finished.stderr
    return finished


def test_table_of_a_folder(server: Server, image: Path) -> None:
    (image.parent / "below").mkdir()
    (image.parent / "below" / "b.PNG").write_bytes(b"x")
    (image.parent / "metadata.csv").write_text("a,b\n")
    finished = run(image.parent, "https://images.example/c.jpg", "--server", server.address)
    assert finished.returncode == 0
    assert finished.stderr == ""
    head, *rows = finished.stdout.splitlines()
    assert head.split() == ["image", "label", "probability", "remarks"]
    for row, name in zip(rows, ("meier.jpg", "b.PNG", "c.jpg"), strict=True):
        assert row.split("  ")[0].endswith(name)
    assert all("0.7500" in row and "tumour" in row and "Inverted." in row for row in rows)


def test_refusal_is_in_its_row(server: Server, image: Path) -> None:
    refused = image.with_name("a.jpg")
    refused.write_bytes(b"text")
    server.answer = lambda body: (422, PROBLEM) if b"text" in body else (200, ANSWER)
    finished = run(image.parent, image.with_name("none.jpg"), "--server", server.address)
    assert finished.returncode == 1
    _, first, second, third = finished.stdout.splitlines()
    assert PROBLEM["detail"] in first
    assert "0.7500" in second
    assert "cannot be read" in third


def test_json_lines(server: Server, image: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    server.answer = lambda body: (200, ANSWER)
    finished = run("--json", image, empty, "--server", server.address)
    assert finished.returncode == 1
    answered, refused = map(json.loads, finished.stdout.splitlines())
    assert answered == {"picture": str(image), **ANSWER}
    assert refused["error"]["code"] == "unreadable_file"
    assert "without images" in refused["error"]["detail"]


def test_table_of_a_study(server: Server, images: list[Path]) -> None:
    server.answer = lambda body: (200, STUDY)
    finished = run("--study", images[0].parent, "--server", server.address)
    assert finished.returncode == 1  # an image was refused
    assert finished.stderr == ""
    head, first, second, breast, patient = finished.stdout.splitlines()
    assert head.split() == ["image", "label", "probability", "remarks"]
    assert "meier.jpg" in first
    assert "0.7500" in first
    assert "Nothing there." in second
    assert " ".join(breast.split()) == "breast L of A tumour 0.5000 1 image, without MLO"
    assert " ".join(patient.split()) == "patient A tumour 0.5000 2 images"
    as_json = run("--study", "--json", *images, "--server", server.address)
    assert json.loads(as_json.stdout)["patients"] == STUDY["patients"]


def test_study_of_a_manifest(server: Server, images: list[Path], tmp_path: Path) -> None:
    server.answer = lambda body: (
        200,
        {**STUDY, "images": [STUDY["images"][0]], "breasts": [], "patients": []},
    )
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"file,patient_id,laterality,view\n{images[0].name},W7,R,MLO\n")
    finished = run("--study", manifest, "--server", server.address)
    assert finished.returncode == 0
    assert "manifest" in finished.stderr  # the server could not determine the patient
    (body,) = server.bodies
    for value in (b"W7", b"R", b"MLO"):
        assert b"\r\n\r\n%s\r\n" % value in body
    manifest.write_text("image\na.jpg\n")
    finished = run("--study", manifest, "--server", server.address)
    assert finished.returncode == 1
    assert "lacks the column file" in finished.stderr


def test_refused_study_is_reported(server: Server, nobody: str, images: list[Path]) -> None:
    server.answer = lambda body: (422, PROBLEM)
    finished = run("--study", *images, "--server", server.address)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert PROBLEM["detail"] in finished.stderr
    assert run("--study", *images, "--server", nobody).returncode == 2
    assert run("--study", "https://images.example/c.jpg").returncode == 2
    assert run("--study", "--age", "50", *images).returncode == 2


def test_usage_and_missing_server(nobody: str, image: Path) -> None:
    assert run().returncode == 2
    assert run("--nonsense").returncode == 2
    finished = run(image, "--server", nobody)
    assert finished.returncode == 2
    assert finished.stdout == ""
    (line,) = finished.stderr.splitlines()
    assert line.endswith(f"({nobody}; start one with `mammoscope serve`)")
    without_scheme = run(image, "--server", "127.0.0.1:9797")
    assert without_scheme.returncode == 2
    assert "'127.0.0.1:9797' is not a URL; write http:// before the host" in without_scheme.stderr


def test_server_without_a_model(server: Server, image: Path) -> None:
    server.ready = [(503, BROKEN)]
    finished = run(image, "--server", server.address, "--wait", "20")
    assert finished.returncode == 2
    assert "Another network." in finished.stderr


def test_json_to_a_dash_is_json(server: Server, image: Path) -> None:
    finished = run("--json", "-", image, "--server", server.address)
    assert finished.returncode == 0
    assert json.loads(finished.stdout) == {"picture": str(image), **ANSWER}


def test_hidden_files_are_not_sent(server: Server, image: Path) -> None:
    for name in ("._meier.jpg", ".hidden.png", "Thumbs.db", "__MACOSX/._a.jpg", "__MACOSX/a.jpg"):
        (image.parent / name).parent.mkdir(exist_ok=True)
        (image.parent / name).write_bytes(b"x")
    (image.parent / "IM0001").write_bytes(bytes(128) + b"DICM and more")
    finished = run("--json", image.parent, "--server", server.address)
    assert [json.loads(line)["picture"] for line in finished.stdout.splitlines()] == [
        str(image.parent / "IM0001"),
        str(image),
    ]


def test_a_folder_without_images_is_refused(server: Server, tmp_path: Path) -> None:
    finished = run("--study", tmp_path, "--server", server.address)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert "no image" in finished.stderr
    assert server.bodies == []


def test_a_closed_pipe_stops_the_client(server: Server, image: Path) -> None:
    for number in range(200):
        (image.parent / f"{number}.jpg").write_bytes(b"x")
    with subprocess.Popen(
        [sys.executable, "test.py", image.parent, "--server", server.address],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"probability" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1
