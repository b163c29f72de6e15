"""Service, command line and Python use the learned gate of the model's card."""

import base64
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import mammoscope
from mammoscope.__main__ import main
from mammoscope.errors import NotAMammogramError
from mammoscope.imaging.learned_gate import SIDE, LearnedGate
from mammoscope.imaging.network_input import NetworkInput, ReadingOptions, make_network_input
from mammoscope.model.artifact.folder import load_artifact, write_card
from mammoscope.model.engine import load_engine
from mammoscope.service.app import create_app
from mammoscope.settings.service import ServiceSettings
from tests.fake_engine import assert_problem, upload

WARNING = "may not be a mammogram"


class Reader:
    """Reads in this process."""

    def read(
        self, data: bytes, options: ReadingOptions, check: Callable[[], None], /
    ) -> NetworkInput:
        return make_network_input(data, options)


@pytest.fixture(params=[-1.0, 0.5], ids=["refused", "warned"])
def model(request, compiled_folder: Path, tmp_path: Path) -> Path:
    """A model whose gate refuses every image, and one whose gate warns about every image."""
    folder = tmp_path / "model"
    shutil.copytree(compiled_folder, folder)
    gate = LearnedGate(
        weights=(0.0,) * SIDE**2, bias=request.param, refuse_below=0.0, warn_below=1.0
    )
    card = load_artifact(folder).require_card().model_copy(update={"gate": gate})
    write_card(folder, card)
    assert load_artifact(folder).require_card() == card
    return folder


def refuses(model: Path) -> bool:
    gate = load_artifact(model).require_card().gate
    return gate is not None and gate.bias < 0


def test_the_python_api_uses_the_gate(model: Path, phantom_folder: Path):
    classifier, path = mammoscope.load(model), min(phantom_folder.iterdir())
    if refuses(model):
        with pytest.raises(NotAMammogramError):
            classifier.predict(path)
    else:
        assert any(WARNING in each for each in classifier.predict(path).warnings)


def test_the_commands_use_the_gate(model: Path, phantom_folder: Path, capsys):
    path = str(min(phantom_folder.iterdir()))
    for options in ([], ["--study"]):
        status = main(["predict", "--model", str(model), path, *options, "--json", "-"])
        told = capsys.readouterr().out
        assert status == int(refuses(model))
        assert ("not_a_mammogram" if refuses(model) else WARNING) in told


def test_the_service_uses_the_gate(model: Path, phantom_folder: Path):
    client = create_app(ServiceSettings(), load_engine(model), Reader()).test_client()
    data = min(phantom_folder.iterdir()).read_bytes()
    predicted = client.post("/predict", **upload(data))
    study = client.post("/studies", **upload(data, patient="A", laterality="L"))
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1]}
    body = {"inputs": [{**tensor, "data": [base64.b64encode(data).decode()]}]}
    inferred = client.post(
        "/v2/models/mammoscope/infer",
        data=io.BytesIO(json.dumps(body).encode()),
        content_type="application/json",
    )
    if refuses(model):
        assert_problem(predicted, 422, NotAMammogramError.code)
        assert inferred.status_code == 422
        assert NotAMammogramError.code in study.text
    else:
        assert any(WARNING in each for each in predicted.json["warnings"])
        assert inferred.status_code == 200
        assert WARNING in study.text
