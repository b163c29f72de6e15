"""The compared servers: how to start each, send requests and read answers."""

import base64
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.environments import PEERS, ROOT, peer_python, serving_python
from benchmarks.load import Request
from benchmarks.processes import Server

_BOUNDARY: Final = "mammoscope-benchmark-7d1f0c"
_FORM: Final = f"multipart/form-data; boundary={_BOUNDARY}"

Encode = Callable[["Contender", bytes, str], tuple[bytes, str]]
"""Maps contender, image and the image's URL to a request's body and Content-Type."""


@dataclass(frozen=True, slots=True)
class Network:
    """The network that all servers serve, in their formats.

    Parameters
    ----------
    artifact
        The model folder.
    keras, onnx, onnx_int8
        The same network as .keras and as ONNX, with float32 and with 8-bit convolutions.
    height, width, channels
        Size of the input in pixels, and number of its channels.
    """

    artifact: Path
    keras: Path
    onnx: Path
    onnx_int8: Path
    height: int
    width: int
    channels: int


@dataclass(frozen=True, slots=True)
class Contender:
    """A server to compare.

    Parameters
    ----------
    name
        Name in the tables.
    python
        Creates its environment if necessary, and returns the interpreter.
    arguments
        Arguments of the interpreter; ``{port}`` is replaced.
    folder
        Its working directory.
    encode
        Builds its requests.
    path
        Path for POST requests with images.
    probability
        Extracts the probability from the answer, decoded from JSON.
    variables
        Environment variables; ``{port}`` is replaced.
    field
        Name of the form field with the image.
    int8
        Whether it serves the ONNX network in 8 bits.
    """

    name: str
    python: Callable[[], Path]
    arguments: tuple[str, ...]
    folder: Path
    encode: Encode
    path: str = "/predict"
    probability: Callable[[Any], float] = lambda answer: float(answer["probability"])
    variables: Mapping[str, str] = field(default_factory=dict)
    field: str = "image"
    int8: bool = False

    def server(self, network: Network, port: int, log: Path) -> Server:
        """Return the server for `network`, not yet started."""
        places = {
            "HEIGHT": str(network.height),
            "WIDTH": str(network.width),
            "CHANNELS": str(network.channels),
            "KERAS_MODEL": str(network.keras),
            "ONNX_MODEL": str(network.onnx_int8 if self.int8 else network.onnx),
            "MAMMOSCOPE_MODEL": str(network.artifact),
            "PORT": str(port),
            # Packages are installed with bytecode; programs write theirs at the first start.
            "PYTHONDONTWRITEBYTECODE": "",
        }
        python = self.python()
        variables = {name: value.format(port=port) for name, value in self.variables.items()}
        return Server(
            [str(python), *(argument.format(port=port) for argument in self.arguments)],
            self.folder,
            # Programs that the server starts by name come from its own environment.
            {"PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin", **places, **variables},
            log,
        )

    def request(self, image: bytes, url: str) -> Request:
        """Return the request for a JPEG, which is also available at `url`."""
        body, content_type = self.encode(self, image, url)
        return Request(
            self.path, body, content_type, lambda answer: self.probability(json.loads(answer))
        )


def _form(contender: Contender, image: bytes, url: str) -> tuple[bytes, str]:
    del url
    head = (
        f"--{_BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="{contender.field}"; filename="image.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + image + f"\r\n--{_BOUNDARY}--\r\n".encode(), _FORM


def _url(contender: Contender, image: bytes, url: str) -> tuple[bytes, str]:
    del contender, image
    return json.dumps({"url": url}).encode(), "application/json"


def _open_inference(contender: Contender, image: bytes, url: str) -> tuple[bytes, str]:
    """Encode for the Open Inference Protocol, version 2."""
    del contender, url
    tensor = {
        "name": "image",
        "shape": [1],
        "datatype": "BYTES",
        "parameters": {"content_type": "base64"},
        "data": [base64.b64encode(image).decode("ascii")],
    }
    return json.dumps({"inputs": [tensor]}).encode(), "application/json"


def _reference(workers: int) -> Contender:
    return Contender(
        name=f"reference design, {workers} worker{'s' * (workers > 1)}",
        python=lambda: peer_python("reference"),
        arguments=(
            "-m", "gunicorn", "--workers", str(workers), "--bind", "127.0.0.1:{port}", "server:app",
        ),
        folder=PEERS / "reference",
        encode=_url,
    )  # fmt: skip


def _litserve(name: str, folder: str, *, int8: bool = False) -> Contender:
    return Contender(
        name=name,
        python=lambda: peer_python(folder),
        arguments=("server.py",),
        folder=PEERS / folder,
        encode=_form,
        field="request",
        int8=int8,
    )


def _bentoml(name: str, folder: str, *, int8: bool = False) -> Contender:
    return Contender(
        name=name,
        python=lambda: peer_python(folder),
        arguments=(
            "-m", "bentoml", "serve", "server:Mammogram", "--host", "127.0.0.1", "--port", "{port}",
        ),
        folder=PEERS / folder,
        encode=_form,
        variables={"BENTOML_DO_NOT_TRACK": "True"},
        int8=int8,
    )  # fmt: skip


OURS: Final = Contender(
    name="Mammoscope",
    python=serving_python,
    arguments=("-m", "gunicorn", "predict:app", "--config", "gunicorn.conf.py"),
    folder=ROOT,
    encode=_form,
    variables={"MAMMOSCOPE_BIND": "127.0.0.1:{port}"},
    field="file",
)

REFERENCES: Final = (_reference(1), _reference(2))

OTHERS: Final = (
    _litserve("LitServe, Keras", "litserve"),
    _litserve("LitServe, ONNX Runtime", "litserve-onnx"),
    _litserve("LitServe, ONNX Runtime int8", "litserve-onnx", int8=True),
    _bentoml("BentoML, Keras", "bentoml"),
    _bentoml("BentoML, ONNX Runtime", "bentoml-onnx"),
    _bentoml("BentoML, ONNX Runtime int8", "bentoml-onnx", int8=True),
    Contender(
        name="Ray Serve, Keras",
        python=lambda: peer_python("ray"),
        arguments=("server.py",),
        folder=PEERS / "ray",
        encode=_form,
        variables={"RAY_USAGE_STATS_ENABLED": "0"},
    ),
    Contender(
        name="MLServer, Keras",
        python=lambda: peer_python("mlserver"),
        arguments=("-c", "from mlserver.cli import main; main()", "start", "."),
        folder=PEERS / "mlserver",
        encode=_open_inference,
        path="/v2/models/mammogram/infer",
        probability=lambda answer: float(answer["outputs"][0]["data"][0]),
        variables={
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": "{port}",
            # It opens two more ports; 0 lets the system choose.
            "MLSERVER_GRPC_PORT": "0",
            "MLSERVER_METRICS_PORT": "0",
        },
    ),
)

ALL: Final = (OURS, *REFERENCES, *OTHERS)


def image_server(folder: Path, port: int, log: Path) -> Server:
    """Return a server for the files in `folder`, for contenders that take a URL."""
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory"]
    return Server([*command, str(folder), str(port)], folder, {}, log)
