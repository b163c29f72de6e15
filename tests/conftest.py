"""Images that the tests share, and the backend Keras runs on.

Keras takes one backend a process. The service's is OpenVINO, training's is TensorFlow: tests of
training carry the marker `training` and run in a pytest of their own (``pytest -m training``).
"""

import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Literal

import absl.logging
import hypothesis
import pytest

REAL_DATASET = Path(__file__).resolve().parents[2] / "shared" / "dataset"
"""The Kaggle data set, if it is next to the checkout; it is not part of the repository."""

MODEL = Path(__file__).resolve().parents[1] / "model"
"""The released model."""

SMOKE = ("--preset", "smoke", "--batch-size", "16", "--validation-fraction", "0.34")
STAGES = (*SMOKE, "--head", "logit_map")
"""One epoch of the head alone, then two of the whole network."""

_NOT_DONE = "NOT DONE: "

_CACHE = pytest.StashKey[Path]()
"""Folder of the networks that this run compiles."""


def not_done(what: str) -> str:
    """Reason to skip a test whose tool is unavailable; listed at the end of the run."""
    return _NOT_DONE + what


def pytest_configure(config: pytest.Config) -> None:
    backend = "tensorflow" if config.option.markexpr == "training" else "openvino"
    # Set before any test module imports Keras; processes that tests start choose for themselves.
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "MAMMOSCOPE_CACHE" not in os.environ:
        config.stash[_CACHE] = Path(tempfile.mkdtemp(prefix="mammoscope-cache-"))
        os.environ["MAMMOSCOPE_CACHE"] = str(config.stash[_CACHE])
    # A run started in the background ignores Ctrl-C, and so would the commands that tests stop.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # The time of one example depends on how busy the machine is.
    hypothesis.settings.register_profile("any machine", deadline=None)
    hypothesis.settings.load_profile("any machine")
    # Keras brings absl's log handler. It would take pytest's stand-in for stderr, and close it as
    # soon as a test configures logging anew; the real one it leaves open.
    absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__
    # matplotlib draws into files, on machines without a screen too.
    os.environ["MPLBACKEND"] = "Agg"


def pytest_unconfigure(config: pytest.Config) -> None:
    if _CACHE in config.stash:
        shutil.rmtree(config.stash[_CACHE], ignore_errors=True)
        del os.environ["MAMMOSCOPE_CACHE"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marker = item.get_closest_marker("abuse")
        if marker is not None:
            item.user_properties.append(("abuse", marker.args[0]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.stats
    bad = {report.nodeid for kind in ("failed", "error") for report in reports.get(kind, [])}
    survived: Counter[str] = Counter()
    for report in reports.get("passed", []):
        subject = dict(report.user_properties).get("abuse")
        if report.when == "call" and subject is not None and report.nodeid not in bad:
            survived[str(subject)] += 1
    skipped = {str(report.longrepr[-1]) for report in reports.get("skipped", [])}
    for reason in sorted(skipped):
        if _NOT_DONE in reason:
            terminalreporter.write_line(reason[reason.index(_NOT_DONE) :], yellow=True)
    if survived:
        listed = ", ".join(f"{subject} {count}" for subject, count in sorted(survived.items()))
        terminalreporter.write_line(f"abuse: {survived.total()} cases survived ({listed})")


def pytest_report_header() -> list[str]:
    images = (
        "real mammograms, laid beside the checkout"
        if REAL_DATASET.is_dir()
        else "phantoms: no real mammograms beside the checkout"
    )
    return [f"images: {images}", f"keras backend: {os.environ['KERAS_BACKEND']}"]


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six phantoms: 8-bit JPEG, 8-bit and 16-bit PNG. Do not write to it."""
    from mammoscope.phantoms.drawing import write_phantoms

    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, 6)
    return folder


@pytest.fixture(scope="session")
def phantom_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms of twelve patients in Kaggle's layout, with metadata. Do not write to it."""
    from mammoscope.phantoms.drawing import write_phantom_dataset

    folder = tmp_path_factory.mktemp("phantom-dataset")
    write_phantom_dataset(folder, patients=12, metadata=True)
    return folder


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms as films with outlined lesions, for training and held out. Do not write to it."""
    from mammoscope.phantoms.drawing import write_phantoms

    folder = tmp_path_factory.mktemp("films")
    names = [path.name for path in write_phantoms(folder, 24)]
    columns = ("file", "patient", "side", "view", "pathology", "x0", "y0", "x1", "y1", "use")
    with (folder / "lesions.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        for number, name in enumerate(names):
            pathology = ("MALIGNANT", "BENIGN")[number % 2]
            use = "train" if number < 16 else "heldout"
            writer.writerow((name, name, "L", "CC", pathology, 0.3, 0.3, 0.6, 0.6, use))
    return folder


@pytest.fixture(scope="session")
def real_dataset(request: pytest.FixtureRequest) -> Path:
    """A data set in Kaggle's layout: the real one if available, else phantoms."""
    if REAL_DATASET.is_dir():
        return REAL_DATASET
    folder: Path = request.getfixturevalue("phantom_dataset")
    return folder


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train a small network in the place of Inception v3, in this process and in its children."""
    from mammoscope.model import networks
    from tests.training.small_network import SMALL, train

    monkeypatch.setitem(networks._BACKBONES, "inceptionv3", SMALL)
    monkeypatch.setattr("mammoscope.cli.trainings._train", train)


@pytest.fixture(scope="session")
def small_run(phantom_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished training of a small network. Do not write to it."""
    output = tmp_path_factory.mktemp("runs") / "small"
    where = ("--data", str(phantom_dataset), "--output", str(output))
    command = [sys.executable, "-m", "tests.training.small_network", "train", *STAGES, *where]
    subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[1])
    return output


@pytest.fixture(scope="session")
def artifact_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as written by training, with a network of one layer. Do not write to it."""
    return _write_artifact(tmp_path_factory.mktemp("model"), "ranks")


@pytest.fixture(scope="session")
def three_channels_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a network of three channels. Do not write to it."""
    return _write_artifact(tmp_path_factory.mktemp("model"), "three")


def _write_artifact(folder: Path, channels: Literal["ranks", "three"]) -> Path:
    import keras

    from mammoscope.model.artifact.card import Card
    from mammoscope.model.artifact.folder import CARD_NAME, NETWORK_NAME, sha256_of, write_card

    pixels = keras.Input((96, 72, 3 if channels == "three" else 1), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32")(pixels)
    drawn = keras.initializers.GlorotUniform(seed=0)
    logit_map = keras.layers.Conv2D(1, 8, strides=8, kernel_initializer=drawn)(scaled)
    logit = keras.layers.Flatten()(keras.layers.GlobalAveragePooling2D()(logit_map))
    network = keras.Model(pixels, {"logit": logit, "logit_map": logit_map})
    network.save(folder / NETWORK_NAME)
    digest = sha256_of(folder / NETWORK_NAME)
    card = Card(version="tiny-1", sha256=digest, input_size=(96, 72), channels=channels)
    write_card(folder, card)
    assert (folder / CARD_NAME).is_file()
    return folder


@pytest.fixture(scope="session")
def compiled_folder(artifact_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with its compiled network, which is served without Keras. Do not write to it."""
    from mammoscope.model.artifact.folder import load_artifact
    from mammoscope.model.cache import write_compiled

    folder = tmp_path_factory.mktemp("compiled") / "model"
    shutil.copytree(artifact_folder, folder)
    write_compiled(load_artifact(folder), folder)
    return folder
