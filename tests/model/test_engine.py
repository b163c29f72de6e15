"""The engine compared with Keras, on the released architecture."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mammoscope.errors import (
    ArtifactError,
    ArtifactMismatchError,
    ConfigurationError,
    NoBreastError,
)
from mammoscope.export.score_comparison import LIMITS
from mammoscope.imaging.heat_map import heat_map
from mammoscope.imaging.mammogram import Mammogram, SourceFacts
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.reading import read, read_file
from mammoscope.model.artifact.card import Card
from mammoscope.model.artifact.folder import Artifact, load_artifact
from mammoscope.model.cache import CompiledNetwork
from mammoscope.model.calibration import AgeCalibration
from mammoscope.model.engine import (
    Engine,
    Execution,
    OpenVinoEngine,
    computes_in,
    load_engine,
    make_engine,
    score_phantoms,
)
from mammoscope.phantoms.drawing import PhantomConfig, draw_phantom
from tests.conftest import not_done
from tests.dicom_objects import changed, mammogram_object

MODEL = Path(__file__).resolve().parents[2] / "model"


class RecordingCore:
    """A fake of OpenVINO that records the compilation settings."""

    def __init__(self) -> None:
        self.options: dict[str, object] = {}

    Core = __call__ = lambda self: self

    def compile_model(self, model, device, options):
        self.options = options
        raise RuntimeError


@pytest.mark.parametrize(("threads", "mode", "expected"), [(0, "throughput", 3), (5, "latency", 5)])
def test_threads_and_mode_are_passed_to_openvino(monkeypatch, threads, mode, expected):
    core = RecordingCore()
    monkeypatch.setattr("mammoscope.model.engine.loading.import_openvino", core)
    monkeypatch.setattr("mammoscope.model.engine.loading.available_processors", lambda: 3)
    card = Card(version="1", sha256="0" * 64, input_size=(96, 72))
    with pytest.raises(ArtifactMismatchError, match="damaged"):
        make_engine(CompiledNetwork(None), card, Execution(threads, mode))
    assert core.options["INFERENCE_NUM_THREADS"] == expected
    assert core.options["PERFORMANCE_HINT"] == mode.upper()
    assert core.options["INFERENCE_PRECISION_HINT"] == "f32"


class RecordingRequest:
    """A fake of an OpenVINO request that records which thread first accessed its memory."""

    def __init__(self) -> None:
        self.first_seen_by: int | None = None

    def get_input_tensor(self):
        return self

    @property
    def data(self):
        self.first_seen_by = self.first_seen_by or threading.get_ident()
        return np.empty((1, 4, 4, 1), np.uint8)


def test_tensor_memory_is_first_accessed_in_one_thread():
    """OpenVINO's binding deadlocks if two threads access tensor memory first."""
    requests = [RecordingRequest() for _ in range(3)]
    made = iter(requests)
    compiled = SimpleNamespace(
        input=lambda index: SimpleNamespace(partial_shape=[1, 4, 4, 1]),
        outputs=[SimpleNamespace(partial_shape=[1] * rank) for rank in (2, 4)],
        get_property=lambda name: len(requests),
        create_infer_request=lambda: next(made),
    )
    OpenVinoEngine(compiled, Card(version="1", sha256="0" * 64, input_size=(4, 4)))
    assert {each.first_seen_by for each in requests} == {threading.get_ident()}


def test_requests_are_served_in_the_order_of_their_arrival():
    """Whoever waits longest is next, also if a caller asks again at once."""
    busy, order, infers = threading.Event(), [], threading.Lock()

    class Request(RecordingRequest):
        def start_async(self, inputs):
            self.number = int(inputs[0].flat[0])

        def wait(self):
            busy.wait(60)
            with infers:
                order.append(self.number)

        def get_tensor(self, output):
            rank = len(output.partial_shape)
            return SimpleNamespace(data=np.full([1] * rank, self.number, np.float32))

    compiled = SimpleNamespace(
        input=lambda index: SimpleNamespace(partial_shape=[1, 4, 4, 1]),
        outputs=[SimpleNamespace(partial_shape=[1] * rank) for rank in (2, 4)],
        get_property=lambda name: 1,
        create_infer_request=Request,
    )
    engine = OpenVinoEngine(compiled, Card(version="1", sha256="0" * 64, input_size=(4, 4)))

    def ask(number: int) -> None:
        for _ in range(3):
            engine.infer(np.full((1, 4, 4), number, np.uint8))

    threads = []
    for number in range(4):
        threads.append(threading.Thread(target=ask, args=[number]))
        threads[-1].start()
        waiting = engine._requests._waiting
        while len(waiting) < number:
            threading.Event().wait(0.001)
    busy.set()
    for thread in threads:
        thread.join()
    # Each call reads its request twice: for the answer, and before it is given back.
    assert order[::2] == [0, 1, 2, 3] * 3


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load_engine(MODEL)


@pytest.fixture(scope="module")
def float_engine() -> Engine:
    """The released network in float32, with unchanged weights."""
    artifact = load_artifact(MODEL)
    return load_engine(Artifact(artifact.network, artifact.card))


@pytest.fixture(scope="module")
def inputs(engine: Engine, phantom_folder: Path) -> np.ndarray:
    return np.stack(
        [
            preprocess(
                read_file(path), engine.card.input_size, channels=engine.card.channels
            ).pixels
            for path in sorted(phantom_folder.iterdir())
        ]
    )


def test_scores_equal_those_of_keras_on_tensorflow(float_engine: Engine, inputs, tmp_path: Path):
    """The reference runs in a separate process, because Keras has one backend per process."""
    shape = float_engine.card.tensor_shape
    np.save(tmp_path / "inputs.npy", inputs.reshape(len(inputs), *shape))
    program = (
        "import os; os.environ.update(KERAS_BACKEND='tensorflow', TF_CPP_MIN_LOG_LEVEL='3')\n"
        "import json, keras, numpy, sys\n"
        "network = keras.saving.load_model(sys.argv[1])\n"
        "answer = network.predict(numpy.load(sys.argv[2]), verbose=0)\n"
        "print(json.dumps([answer['logit'][:, 0].tolist(), answer['logit_map'].tolist()]))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, str(MODEL / "model.keras"), str(tmp_path / "inputs.npy")],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    logits, maps = json.loads(answer.stdout.splitlines()[-1])
    scores = float_engine.infer(inputs)
    assert scores.logits == pytest.approx(np.array(logits), abs=2e-3)
    assert scores.logit_maps == pytest.approx(np.array(maps)[..., 0], abs=2e-2)


def test_served_scores_are_within_the_cards_limits(
    engine: Engine, float_engine: Engine, phantom_folder: Path
):
    assert engine.card.compiled is not None
    allowed = engine.card.compiled.comparison.allowed_difference
    assert allowed == LIMITS[engine.card.compiled.precision].largest
    for path in sorted(phantom_folder.iterdir()):
        mammogram = read_file(path)
        served = engine.predict(mammogram).probability
        assert served == pytest.approx(float_engine.predict(mammogram).probability, abs=allowed)


def on_another_cpu(artifact: Artifact, *logits: float) -> Artifact:
    """The same model, as if released on a CPU with these scores for the phantoms."""
    assert artifact.card is not None
    assert artifact.card.compiled is not None
    compiled = artifact.card.compiled.model_copy(update={"reference_logits": logits})
    return replace(artifact, card=artifact.card.model_copy(update={"compiled": compiled}))


@pytest.mark.skipif(
    not computes_in(load_artifact(MODEL).precision),
    reason=not_done("scores in the released precision, which this CPU lacks"),
)
def test_float32_is_served_on_a_cpu_with_different_scores(
    engine: Engine,
    float_engine: Engine,
    inputs,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    artifact = load_artifact(MODEL)
    expected = score_phantoms(engine)
    assert load_engine(on_another_cpu(artifact, *expected)).card.compiled is not None
    # A probability near 1/2 moves by a quarter of what its logit does.
    nearly = load_engine(on_another_cpu(artifact, *(logit + 0.005 for logit in expected)))
    assert nearly.card.compiled is not None
    assert caplog.text == ""
    with monkeypatch.context() as patch:
        patch.setattr("mammoscope.model.engine.loading.computes_in", lambda _: False)
        without = load_engine(artifact)
    assert without.card.compiled == engine.card.compiled
    in_float32 = without.infer(inputs).logits.tolist()
    assert in_float32 != engine.infer(inputs).logits.tolist()
    assert in_float32 == pytest.approx(float_engine.infer(inputs).logits, abs=5e-3)
    assert caplog.text == ""
    for logits in (
        (*expected[:3], expected[3] + (0.5 if expected[3] < 0 else -0.5)),
        (float("nan"), *expected[1:]),
        expected[:3],
    ):
        caplog.clear()
        served = load_engine(on_another_cpu(artifact, *logits))
        assert (
            "The compiled model gives different scores on this CPU; falling back to float."
            in caplog.text
        )
        assert served.card.compiled is None
        assert served.infer(inputs).logits.tolist() == in_float32


def test_a_score_does_not_depend_on_other_images_or_threads(engine: Engine, inputs):
    together = engine.infer(inputs).logits
    alone = [engine.infer(image[None]).logits[0] for image in inputs]
    with ThreadPoolExecutor(8) as pool:
        crowded = list(pool.map(lambda i: engine.infer(inputs[i : i + 1]).logits[0],
                                [i % len(inputs) for i in range(24)]))  # fmt: skip
    assert alone == pytest.approx(together, abs=1e-5)
    assert crowded == pytest.approx(np.tile(together, 24)[:24], abs=1e-5)


def test_the_age_is_used_if_the_card_supports_it_and_reported_if_not(
    engine: Engine, phantom_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    mammogram = read_file(min(phantom_folder.iterdir()))
    without = engine.predict(mammogram)
    card = engine.card.model_copy(update={"age_calibration": None})
    monkeypatch.setattr(engine, "card", card)
    ignored = engine.predict(mammogram, age=70)
    assert ignored.probability == pytest.approx(without.probability)
    assert not ignored.age_used
    assert any("age" in warning for warning in ignored.warnings)
    taking = AgeCalibration(slope=1.0, intercept=0.0, per_decade=0.5)
    monkeypatch.setattr(engine, "card", card.model_copy(update={"age_calibration": taking}))
    entered = engine.predict(mammogram, age=70)
    assert entered.age_used
    assert entered.probability == pytest.approx(1 / (1 + np.exp(-entered.logit - 0.5)))
    assert not any("age" in warning for warning in entered.warnings)


class _Compiled:
    """A fake network that scores 0 for any image."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.outputs = [SimpleNamespace(partial_shape=shape) for shape in ((1, 1), (1, 2, 2, 1))]
        self._input = SimpleNamespace(partial_shape=(1, *size, 1))

    def input(self, _index):
        return self._input

    def get_property(self, _name):
        return 1

    def create_infer_request(self):
        def tensor(output):
            return SimpleNamespace(data=np.zeros(output.partial_shape, np.float32))

        return SimpleNamespace(
            get_input_tensor=lambda: tensor(self._input),
            start_async=lambda _pixels: None,
            wait=lambda: None,
            get_tensor=tensor,
        )


@pytest.mark.parametrize(
    ("setting", "said", "given", "years"),
    [
        (True, "070Y", None, 70), (True, "070Y", 50, 50), (True, None, 50, 50),
        (True, "004Y", None, None), (True, None, None, None), (False, "070Y", None, None),
    ],
)  # fmt: skip
def test_the_age_in_a_dicom_file_is_used_only_if_allowed(setting, said, given, years):
    """The caller's age takes precedence."""
    card = Card(
        version="1",
        sha256="0" * 64,
        input_size=(96, 72),
        age_calibration=AgeCalibration(slope=1.0, intercept=0.0, per_decade=0.5),
    )
    engine = OpenVinoEngine(_Compiled(card.input_size), card, age_from_dicom=setting)
    image = read(changed(mammogram_object(height=512, width=416), PatientAge=said))
    answer = engine.predict(image, age=given)
    assert answer.age_used == (years is not None)
    log_odds = 0.0 if years is None else 0.05 * (years - 60)
    assert answer.probability == pytest.approx(1 / (1 + np.exp(-log_odds)))


def test_the_heat_map_points_at_masses(engine: Engine):
    """Of phantoms, which the network never saw."""
    hits, chances = [], []
    for seed in range(2000, 2032):
        phantom = draw_phantom(PhantomConfig(seed=seed, mass=True, height=1024, width=832))
        source = SourceFacts("PNG", 832, 1024, 8, "L", 0.0)
        prediction = engine.predict(Mammogram(phantom.pixels, source))
        heat, breast = heat_map(prediction.logit_map, prediction.preprocessed)
        top, left, bottom, right = prediction.preprocessed.box
        mass = phantom.lesion_mask[top:bottom, left:right]
        hits.append(mass[np.unravel_index(np.where(breast, heat, -np.inf).argmax(), heat.shape)])
        chances.append((mass & breast).sum() / breast.sum())
    assert np.mean(hits) > 10 * np.mean(chances)
    assert np.mean(hits) > 0.5


def test_predictions_are_calibrated_scores(engine: Engine, phantom_folder: Path):
    path = min(phantom_folder.iterdir())
    prediction = engine.predict(read_file(path))
    assert prediction.probability == engine.card.calibration.probability(prediction.logit)
    assert prediction.model_version == engine.card.version
    answer = prediction.to_json()
    assert answer["classes"][answer["label"]] == max(answer["classes"].values())
    assert sum(answer["classes"].values()) == pytest.approx(1)
    specific = engine.predict(read_file(path), operating_point="high_specificity")
    assert specific.probability == prediction.probability
    assert specific.threshold == engine.card.threshold("high_specificity")
    with pytest.raises(ConfigurationError):
        engine.predict(read_file(path), operating_point="best")


def test_a_blank_image_is_refused(engine: Engine):
    blank = Mammogram(np.zeros((64, 64), np.float32), SourceFacts("PNG", 64, 64, 8, "L"))
    with pytest.raises(NoBreastError):
        engine.predict(blank)


def test_a_network_without_card_is_scored_uncalibrated(
    tmp_path: Path, phantom_folder: Path, caplog: pytest.LogCaptureFixture
):
    network = tmp_path / "bare.keras"
    network.write_bytes((MODEL / "model.keras").read_bytes())
    bare = load_engine(network)
    assert "not calibrated" in caplog.text
    assert bare.card.version.startswith("sha256:")
    assert bare.card.calibration.slope == 1
    assert bare.predict(read_file(min(phantom_folder.iterdir()))).threshold == 0.5


def test_a_network_cannot_be_converted_without_a_temporary_folder(
    artifact_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    for cache in (tmp_path / "cache", Path("/dev/full/cache")):
        with pytest.raises(ArtifactError, match="temporary folder"):
            load_engine(artifact_folder, cache=cache)


def test_a_damaged_network_is_refused(tmp_path: Path):
    data = (MODEL / "model.keras").read_bytes()
    for name, content in (("cut", data[: len(data) // 2]), ("text", b"no network")):
        path = tmp_path / f"{name}.keras"
        path.write_bytes(content)
        with pytest.raises(ArtifactMismatchError, match="damaged"):
            load_engine(Artifact(path, None))


def test_a_card_for_another_size_is_refused():
    artifact = load_artifact(MODEL)
    assert artifact.card is not None
    other = artifact.card.model_copy(update={"input_size": (100, 100)})
    with pytest.raises(ArtifactMismatchError, match="size"):
        load_engine(Artifact(artifact.network, other))
