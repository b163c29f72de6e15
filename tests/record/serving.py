"""Answers of the service as a gunicorn process, and of the client."""

import http.client
import json
import re
import socket
import tempfile
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from tests.record import exchange
from tests.record.commands import Command, run
from tests.record.encoded_images import jpeg, png8, refused
from tests.record.keeping import NETWORK, Entries
from tests.service_process import ServiceProcess

_BOUNDARY = "record"
_VARIES = ("timestamp", "request_id", "duration_ms", "seconds")
_WHERE = re.compile(r"127\.0\.0\.1:\d+|(?<=pid: )\d+|(?<=\()\d+(?=\))")


def record() -> Entries:
    with tempfile.TemporaryDirectory(prefix="record-") as name:
        folder = Path(name)
        with socket.create_server(("127.0.0.1", 0)) as free:
            metrics = f"127.0.0.1:{free.getsockname()[1]}"
        service = ServiceProcess(folder / "log", metrics_bind=metrics, max_image_bytes=400_000)
        try:
            service.wait_ready()
            entries = {
                **_answers(service.port),
                **_malformed(service.port),
                "metrics on their own port": _metrics(metrics),
                **_client(service.address, folder),
            }
            entries["exit code after SIGTERM"] = service.terminate()
        finally:
            service.kill()
        entries["log"] = _log(service.log)
    return entries


def _answers(port: int) -> Entries:
    part = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    form = part.encode() + jpeg("left CC") + f"\r\n--{_BOUNDARY}--\r\n".encode()
    in_parts = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    png, raw = png8("left CC"), {"Content-Type": "image/png"}
    asked: list[tuple[str, str, str, bytes | None, dict[str, str]]] = [
        ("", "HEAD", "/", None, {}),
        ("", "GET", "/healthz", None, {}),
        ("", "GET", "/readyz", None, {}),
        ("", "GET", "/static/page.css", None, {}),
        ("", "GET", "/nothing", None, {}),
        ("", "GET", "/predict", None, {}),
        ("", "OPTIONS", "/predict", None, {}),
        ("form", "POST", "/predict", form, in_parts),
        ("raw", "POST", "/predict", png, raw),
        ("heat map", "POST", "/predict?explain=1", png, {**raw, "Accept": "image/png"}),
        ("refused", "POST", "/predict", refused()["noise"], raw),
        ("too large", "POST", "/predict", bytes(800_000), raw),
        ("study", "POST", "/studies", form, in_parts),
        ("closing", "GET", "/healthz", None, {"Connection": "close"}),
    ]
    entries: Entries = {}
    for name, method, path, body, headers in asked:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        sent = {"X-Request-Id": exchange.REQUEST_ID, **headers}
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        entry = exchange.kept(answer.status, answer.getheaders(), answer.read())
        connection.close()
        title = f"{method} {path}{', ' if name else ''}{name}"
        asks = name in ("form", "raw", "heat map", "study")
        entries[title] = {NETWORK: True, **entry} if asks else entry
    return entries


def _malformed(port: int) -> Entries:
    """Requests that never reach the application."""
    heads = {
        "no HTTP": b"nonsense\r\n\r\n",
        "long line": b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n",
        "long header": b"GET / HTTP/1.1\r\nA: " + b"a" * 10_000 + b"\r\n\r\n",
        "two lengths": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "unknown coding": b"POST / HTTP/1.1\r\nTransfer-Encoding: other\r\n\r\n",
        "unknown expectation": b"POST / HTTP/1.1\r\nExpect: other\r\n\r\n",
        "bad chunks": b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
        b"X-Request-Id: record\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    }
    entries: Entries = {}
    for name, head in heads.items():
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(head)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            entries[f"malformed: {name}"] = exchange.kept(
                answer.status, answer.getheaders(), answer.read()
            )
            answer.close()
    return entries


def _metrics(bind: str) -> Any:
    with urllib.request.urlopen(f"http://{bind}/metrics", timeout=60) as answer:
        told = exchange.metrics(answer.read().decode())
        return {
            "status": answer.status,
            "type": answer.headers["Content-Type"],
            "families": {name: each["type"] for name, each in told.items()},
        }


def _client(address: str, folder: Path) -> Entries:
    images = folder / "pictures"
    images.mkdir()
    (images / "a.jpg").write_bytes(jpeg("left CC"))
    (images / "mass.jpg").write_bytes(jpeg("left MLO mass"))
    (images / "noise.png").write_bytes(refused()["noise"])
    (folder / "manifest.csv").write_text(
        "file,patient_id,laterality,view\nimages/a.jpg,1,L,CC\nimages/mass.jpg,1,L,MLO\n",
        encoding="utf-8",
    )
    lines = (
        "pictures", "--json pictures", "--age 57 pictures/a.jpg", "--age 7 pictures/a.jpg",
        "--study manifest.csv", "--study --json manifest.csv", "--study pictures",
        "nothing.jpg", "http://127.0.0.1/a.png",
    )  # fmt: skip
    commands = [Command(f"test.py --server {address} {line}", network=True) for line in lines]
    told = run(commands, folder)
    return {name.replace(address, "<service>"): each for name, each in told.items()}


def _log(text: str) -> dict[str, int]:
    """How often the log has each line, without times, ids and places.

    Without the questions whether the service is ready, which are as many as it takes.
    """
    counted: Counter[str] = Counter()
    for line in text.splitlines():
        said = json.loads(line)
        if said.get("route") == "/readyz":
            continue
        said |= {name: "<varies>" for name in _VARIES if name in said}
        words = " ".join(f"{name}={value}" for name, value in sorted(said.items()))
        counted[_WHERE.sub("<varies>", words)] += 1
    return dict(sorted(counted.items()))
