"""Attack a service with default settings with images and JSON that are expensive to read."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests

from tests.abuse.bombs import DICOM_TYPE, IMAGES, PNG_TYPE
from tests.abuse.service import assert_refused
from tests.abuse.watchdog import Defaults
from tests.conftest import MODEL
from tests.service_process import PATIENCE_S, ROOT

pytestmark = [pytest.mark.abuse("default settings"), pytest.mark.flood]

TOGETHER = 6
"""Parallel requests of an attack: more than there are processes that read images."""

LEAST_S = 3.0
"""Seconds for which an attack is repeated, for the measurements."""

ATTACKS = ROOT.parent / "shared" / "attacks"
"""Optional attack files next to the checkout, which are not part of it."""

FILES = sorted(path.name for path in ATTACKS.glob("*") if not path.suffix)
INFER = "/v2/models/mammoscope/infer"


@pytest.fixture(scope="module")
def defaults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Defaults]:
    service = Defaults(tmp_path_factory.mktemp("defaults"), MODEL)
    yield service
    service.process.kill()


def post(service: Defaults, path: str, data: bytes, headers: dict[str, str]) -> requests.Response:
    return requests.post(
        f"{service.process.address}{path}", data=data, headers=headers, timeout=PATIENCE_S
    )


def attack(service: Defaults, path: str, data: bytes, headers: dict[str, str]) -> None:
    """Repeat a request; each is refused because of the client or the load.

    A client that continues to send long after the answer loses the connection.
    """
    answers: list[requests.Response] = []

    def send() -> None:
        ended = time.monotonic() + LEAST_S
        while True:
            with suppress(requests.ConnectionError):
                answers.append(post(service, path, data, headers))
            if time.monotonic() > ended:
                return

    senders = [threading.Thread(target=send) for _ in range(TOGETHER)]
    with service.watched():
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(PATIENCE_S)
    assert len(answers) >= TOGETHER or len(data) > 10**8
    for answer in answers:
        assert_refused(answer, answer.status_code, answer.json()["code"])
        assert answer.status_code in (400, 413, 415, 422, 429), answer.text


@pytest.mark.parametrize("case", IMAGES)
def test_expensive_images(defaults: Defaults, case: str) -> None:
    kind, make = IMAGES[case]
    attack(defaults, "/predict?explain=true", make(), {"Content-Type": kind})


@pytest.mark.parametrize("case", FILES)
def test_attack_files(defaults: Defaults, case: str) -> None:
    if case.startswith("v2"):
        path, kind = INFER, "application/json"
    else:
        path, kind = "/predict", DICOM_TYPE if case.startswith("d") else PNG_TYPE
    attack(defaults, path, (ATTACKS / case).read_bytes(), {"Content-Type": kind})


def binary(description: dict[str, Any], rest: bytes) -> tuple[bytes, dict[str, str]]:
    head = json.dumps({"inputs": [description]}).encode()
    return head + rest, {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }


def empty_elements(count: int = 60_000_000) -> tuple[bytes, dict[str, str]]:
    """Elements of 0 bytes, each with its length prefix."""
    size = {"binary_data_size": 4 * count}
    described = {"name": "image", "datatype": "BYTES", "shape": [count], "parameters": size}
    return binary(described, bytes(4 * count))


def text(content: bytes) -> tuple[bytes, dict[str, str]]:
    return content, {"Content-Type": "application/json"}


PIXELS = b'{"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1], "data": [%b]}]%b}'
JSONS = {
    "one long text beside empty ones": lambda: text(
        PIXELS % (b'"' + b"a" * 25_000 + b'"' + b',""' * 25_000, b"")
    ),
    "lists of lists": lambda: text(PIXELS % (b"[]," * 20_000_000 + b"[]", b"")),
    "lists in parameters": lambda: text(
        PIXELS % (b"1", b', "parameters": {"x": [' + b"[]," * 20_000_000 + b"[]]}")
    ),
    "depth": lambda: text(PIXELS % (b"[" * 20_000_000, b"")),
    "many keys": lambda: text(PIXELS % (b"1", b"".join(b',"%d":0' % i for i in range(3_000_000)))),
    "empty elements": empty_elements,
}


@pytest.mark.parametrize("case", JSONS)
def test_expensive_tensors(defaults: Defaults, case: str) -> None:
    data, headers = JSONS[case]()
    attack(defaults, INFER, data, headers)


def test_a_study_of_expensive_images(defaults: Defaults) -> None:
    image = IMAGES["PNG of 50 megapixels, RGBA"][1]()
    with defaults.watched():
        files = [("file", (f"{number}.png", image)) for number in range(16)]
        answer = requests.post(
            f"{defaults.process.address}/studies", files=files, timeout=PATIENCE_S
        )
    assert answer.status_code in (200, 422, 503), answer.text


def test_clients_that_disconnect_during_expensive_images(defaults: Defaults) -> None:
    data = IMAGES["JPEG of many scans"][1]()
    with defaults.watched() as figures:
        for _ in range(3):
            for _ in range(8):
                with pytest.raises(requests.Timeout):
                    requests.post(
                        f"{defaults.process.address}/predict",
                        data=data,
                        headers={"Content-Type": PNG_TYPE},
                        timeout=0.3,
                    )
    assert figures.good_s
