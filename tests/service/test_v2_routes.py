"""The Open Inference Protocol, used by an independent client."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException
from werkzeug.serving import WSGIRequestHandler, make_server

from mammoscope.errors import InvalidRequestError
from mammoscope.service.v2_tensors import HEADER_LENGTH, parse_request
from mammoscope.settings.service import ServiceSettings
from tests.fake_engine import IMAGE, FakeEngine, app_with, assert_good, assert_problem, encoded

INFER = "/v2/models/mammoscope/infer"
SETTINGS = ServiceSettings(max_study_images=4)


@pytest.fixture
def app() -> Flask:
    return app_with(SETTINGS, FakeEngine())


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def triton(app: Flask) -> Iterator[InferenceServerClient]:
    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
            pass

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    asking = InferenceServerClient(f"127.0.0.1:{server.server_port}")
    yield asking
    asking.close()
    server.shutdown()
    thread.join()
    server.server_close()


def images(*contents: bytes) -> InferInput:
    given = InferInput("image", [len(contents)], "BYTES")
    given.set_data_from_numpy(np.array(contents, dtype=np.object_))
    return given


def pixels(*, binary: bool = True) -> InferInput:
    preprocessed = np.stack([np.full((96, 96), grey, np.uint8) for grey in (51, 204)])
    given = InferInput("pixels", [2, 96, 96], "UINT8")
    given.set_data_from_numpy(preprocessed, binary_data=binary)
    return given


def test_health_and_metadata(triton: InferenceServerClient) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("mammoscope")
    assert not triton.is_model_ready("other")
    assert triton.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = triton.get_model_metadata("mammoscope")
    assert metadata["versions"] == ["test-1"]
    assert {each["name"]: each["shape"] for each in metadata["inputs"]} == {
        "image": [-1],
        "pixels": [-1, 96, 96],
    }


def test_encoded_images(triton: InferenceServerClient, client: FlaskClient) -> None:
    answer = triton.infer("mammoscope", [images(IMAGE, encoded(grey=204))], request_id="7")
    assert answer.get_response()["id"] == "7"
    assert answer.get_response()["model_version"] == "test-1"
    assert answer.as_numpy("logit") == pytest.approx([0.4, 0.8], abs=1e-6)
    plain = client.post("/predict", data=IMAGE, content_type="image/png").json
    assert answer.as_numpy("logit")[0] == pytest.approx(plain["logit"])
    assert [bytes(each).decode() for each in answer.as_numpy("label")] == ["tumour", "tumour"]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_preprocessed_pixels(
    triton: InferenceServerClient, binary_in: bool, binary_out: bool
) -> None:
    answer = triton.infer(
        "mammoscope",
        [pixels(binary=binary_in)],
        outputs=[InferRequestedOutput("probability", binary_data=binary_out)],
    )
    logits = np.array([0.2, 0.8])
    assert answer.as_numpy("probability") == pytest.approx(1 / (1 + np.exp(-logits)))
    assert answer.as_numpy("logit") is None


def test_images_as_json(client: FlaskClient) -> None:
    given = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [1],
        "data": [base64.b64encode(IMAGE).decode()],
    }
    answer = client.post(INFER, json={"inputs": [given]})
    outputs = {each["name"]: each for each in answer.json["outputs"]}
    assert outputs["logit"]["data"] == pytest.approx([0.4], abs=1e-6)
    assert outputs["label"] == {
        "name": "label",
        "datatype": "BYTES",
        "shape": [1],
        "data": ["tumour"],
    }


def test_refusals_are_explained_to_the_client(triton: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="not a JPEG"):
        triton.infer("mammoscope", [images(b"no image")])
    with pytest.raises(InferenceServerException, match="no such model"):
        triton.infer("other", [images(IMAGE)])
    assert triton.infer("mammoscope", [images(IMAGE)]).as_numpy("label").shape == (1,)


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 2], "data": [1, 2], **changes}


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"inputs": []},
        {"inputs": [tensor()]},  # not of the model's size
        {"inputs": [tensor(shape=[2])]},
        {"inputs": [tensor(data=[1, 2, 3])]},
        {"inputs": [tensor(data=[1, 256])]},
        {"inputs": [tensor(data=[1, 0.5])]},
        {"inputs": [tensor(data=[True, False])]},
        {"inputs": [tensor(data=[[1], [2, 3]])]},
        {"inputs": [tensor(data=None)]},
        {"inputs": [tensor(datatype="FP32")]},
        {"inputs": [tensor(shape=[-1, 1, 2])]},
        {"inputs": [tensor(shape=[2**31, 2**31, 2**31])]},
        {"inputs": [tensor(parameters={"binary_data_size": 2})]},
        {"inputs": [tensor(parameters={"binary_data_size": True})]},
        {"inputs": [tensor(), tensor()]},
        {"inputs": [tensor(name="image", datatype="BYTES", shape=[1], data=["é"])]},
        {"inputs": [tensor(name="image", datatype="BYTES", shape=[2], data=["YQ=="])]},
        {"inputs": [tensor(name="image", datatype="BYTES", shape=[5], data=["YQ=="] * 5)]},
        {"inputs": [tensor(name="image", datatype="BYTES", shape=[0], data=[])]},
        {"inputs": [tensor(name="other", datatype="BYTES", shape=[1], data=["YQ=="])]},
        {"inputs": [tensor()], "outputs": [{"name": "other"}]},
    ],
)
def test_bad_requests(client: FlaskClient, content: dict[str, Any]) -> None:
    problem = assert_problem(client.post(INFER, json=content), 400, "invalid_request")
    assert problem["error"] == problem["detail"]
    assert_good(client)


@pytest.mark.parametrize("length", ["x", "-1", "1000000", "²", "5"])
def test_bad_header_length(client: FlaskClient, length: str) -> None:
    body = json.dumps({"inputs": [tensor()]}).encode()
    headers = {HEADER_LENGTH: length.encode().decode("latin-1")}
    assert_problem(client.post(INFER, data=body, headers=headers), 400, "invalid_request")


def test_a_body_that_is_too_large_is_refused(app: Flask) -> None:
    small = app_with(ServiceSettings(max_study_bytes=1000), FakeEngine()).test_client()
    large = io.BytesIO(bytes(2_000_000))
    assert_problem(
        small.post(INFER, input_stream=large, content_length=2_000_000), 413, "request_too_large"
    )
    assert_good(small)


@given(
    header=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["inputs", "name", "shape", "data", "datatype", "parameters"]),
                inner,
            )
        ),
        max_leaves=12,
    ),
    tail=st.binary(max_size=20),
)
@settings(max_examples=150, deadline=None)
def test_any_body_is_a_request_or_refused(header: object, tail: bytes) -> None:
    content = json.dumps(header).encode()
    for length in (None, str(len(content))):
        try:
            parse_request(content + tail, length, max_values=100)
        except InvalidRequestError:
            continue


@given(data=st.binary(max_size=40), count=st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_elements_or_refused(data: bytes, count: int) -> None:
    described = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [count],
        "parameters": {"binary_data_size": len(data)},
    }
    content = json.dumps({"inputs": [described]}).encode()
    try:
        asked = parse_request(content + data, str(len(content)), max_values=100)
    except InvalidRequestError:
        return
    elements = asked.inputs["image"]
    assert len(elements) == count
    assert sum(len(each) + 4 for each in elements) == len(data)
