"""Compiling for serving, with networks small enough to be drawn and compiled in a test."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from mammoscope.__main__ import main
from mammoscope.data.dataset import read_dataset
from mammoscope.errors import (
    ArtifactMismatchError,
    ArtifactNotFoundError,
    CompilationError,
    ConfigurationError,
    EmptyDatasetError,
    SingleClassError,
    StorageError,
)
from mammoscope.export import (
    ALLOWED_DIFFERENCE,
    PreprocessedImages,
    Reference,
    compile_artifact,
    draw_images,
    loss,
    read_images,
)
from mammoscope.export.rounding import rounded_to_bfloat16
from mammoscope.model.artifact import (
    NETWORK_NAME,
    TOPOLOGY_NAME,
    WEIGHTS_NAME,
    Card,
    load_artifact,
    sha256_of,
    write_card,
)
from mammoscope.model.conversion import convert_network, import_openvino
from mammoscope.model.engine import computes_in_bfloat16, load_engine, make_engine, score_phantoms
from mammoscope.service import LoadingEngine, create_app
from mammoscope.settings import ServiceSettings

SIZE = (96, 72)
ROOT = Path(__file__).resolve().parents[2]


def draw_network(path: Path, *, spread: float = 0.0) -> None:
    """Save a network that begins with two branches, which a second and a third layer follow.

    What the second branch puts out is larger by so many powers of 10, which the second layer takes
    back: in float nothing comes of it, in 8 bits what the first branch puts out is lost.
    """
    import keras

    pixels = keras.Input((*SIZE, 1), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32")(pixels)
    branches = [
        keras.layers.Conv2D(4, 5, strides=4, activation="relu", padding="same") for _ in range(2)
    ]
    first = keras.layers.Concatenate()([branch(scaled) for branch in branches])
    second = keras.layers.Conv2D(16, 3, strides=2, activation="relu", padding="same")
    third = keras.layers.Conv2D(16, 3, activation="relu", padding="same")
    logit_map = keras.layers.Conv2D(1, 1, name="score")(third(second(first)))
    logit = keras.layers.Flatten()(keras.layers.GlobalAveragePooling2D()(logit_map))
    network = keras.Model(pixels, {"logit": logit, "logit_map": logit_map})
    rng = np.random.default_rng(0)
    for layer in network.layers:
        weights = [rng.normal(0, 0.3, value.shape) for value in layer.get_weights()]
        if layer is branches[1]:
            weights = [weight * 10.0**spread for weight in weights]
        if layer is second:
            weights[0][:, :, 4:] /= 10.0**spread
        layer.set_weights(weights)
    network.save(path)


@pytest.fixture(scope="module", autouse=True)
def few_images() -> Iterator[None]:
    """Networks of random weights order two dozen phantoms at random, in steps of 0.008 of AUC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mammoscope.export.comparison.ALLOWED_AUC_DIFFERENCE", 0.1)
        yield


@pytest.fixture(scope="module")
def images() -> PreprocessedImages:
    return draw_images(SIZE)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw_network(folder / NETWORK_NAME)
    return folder


@pytest.fixture
def folder(drawn: Path, tmp_path: Path) -> Path:
    """A model folder as training leaves it."""
    made = tmp_path / "model"
    made.mkdir()
    (made / NETWORK_NAME).write_bytes((drawn / NETWORK_NAME).read_bytes())
    digest = sha256_of(made / NETWORK_NAME)
    write_card(made, Card(version="tiny-1", sha256=digest, input_size=SIZE))
    return made


@pytest.fixture(scope="module")
def compiled(drawn: Path, images: PreprocessedImages) -> Path:
    """A folder compiled in 8 bits. Not to be written to."""
    digest = sha256_of(drawn / NETWORK_NAME)
    write_card(drawn, Card(version="tiny-1", sha256=digest, input_size=SIZE))
    compile_artifact(load_artifact(drawn), images)
    return drawn


def card_of(folder: Path) -> Card:
    card = load_artifact(folder).card
    assert card is not None
    return card


def test_scores_in_8_bits_are_near_those_of_the_keras(compiled: Path, images: PreprocessedImages):
    artifact = load_artifact(compiled)
    assert artifact.compiled is not None
    served = load_engine(artifact).infer(images.comparison)
    exact = load_engine(replace(artifact, compiled=None)).infer(images.comparison)
    assert not np.array_equal(served.logits, exact.logits)
    assert served.logit_maps.shape == exact.logit_maps.shape
    probabilities = [1 / (1 + np.exp(-scores.logits)) for scores in (served, exact)]
    largest = np.abs(probabilities[0] - probabilities[1]).max()
    card = card_of(compiled)
    assert card.compiled is not None
    comparison = card.compiled.comparison
    assert card.compiled.kind == "int8"
    assert largest == pytest.approx(comparison.max_difference, abs=1e-6)
    assert largest <= comparison.allowed_difference == ALLOWED_DIFFERENCE
    assert abs(comparison.auc_float - comparison.auc_compiled) <= 0.1
    assert comparison.pictures == len(images.comparison)
    assert comparison.source == "phantoms"


def test_convolutions_compute_in_8_bits_but_the_head(compiled: Path):
    import openvino

    model = openvino.Core().read_model(compiled / TOPOLOGY_NAME)
    kernels = [
        tuple(node.get_output_shape(0))
        for node in model.get_ops()
        if node.get_type_name() == "Constant" and node.get_element_type().get_type_name() == "i8"
    ]
    # Of all convolutions the last, of one channel, is the head.
    assert sorted(kernels) == [(4, 1, 5, 5), (4, 1, 5, 5), (16, 8, 3, 3), (16, 16, 3, 3)]


def test_a_compiled_network_is_served_without_keras(compiled: Path, phantom_folder: Path):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mammoscope.model.artifact import load_artifact\n"
        "from mammoscope.model.engine import load_engine\n"
        "from mammoscope.imaging.reading import read_file\n"
        "engine = load_engine(load_artifact(Path(sys.argv[1])))\n"
        "print(engine.predict(read_file(Path(sys.argv[2]))).logit)\n"
        "print(*(name for name, module in sys.modules.items() if module is not None))\n"
    )
    image = min(phantom_folder.iterdir())
    answer = subprocess.run(
        [sys.executable, "-c", program, str(compiled), str(image)],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    logit, names = answer.stdout.splitlines()
    loaded = {name.partition(".")[0] for name in names.split()}
    assert "openvino" in loaded
    assert loaded.isdisjoint(
        {"keras", "tensorflow", "scipy", "nncf", "sklearn", "pandas", "openvino_telemetry"}
    )
    assert np.isfinite(float(logit))


def test_scores_under_load_equal_scores_alone(compiled: Path, images: PreprocessedImages):
    engine = load_engine(load_artifact(compiled))
    some = images.comparison[:12]
    alone = [float(engine.infer(image[None]).logits[0]) for image in some]
    with ThreadPoolExecutor(8) as pool:
        crowded = list(pool.map(lambda i: engine.infer(some[i % 12][None]).logits[0], range(96)))
    assert crowded == alone * 8
    assert engine.infer(some).logits.tolist() == alone


def test_a_folder_that_does_not_match_never_becomes_ready(compiled: Path, tmp_path: Path):
    folder = tmp_path / "model"
    shutil.copytree(compiled, folder)
    weights = folder / WEIGHTS_NAME
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    loading = LoadingEngine(lambda: load_engine(load_artifact(folder))).start()
    client = create_app(ServiceSettings(model=folder), loading).test_client()
    end = time.monotonic() + 60
    while (answer := client.get("/readyz")).get_json()["code"] == "not_ready":
        assert time.monotonic() < end
        time.sleep(0.01)
    assert (answer.status_code, answer.get_json()["code"]) == (503, "artifact_mismatch")
    assert client.post("/predict", data=b"picture", content_type="image/png").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_without_a_compiled_network_the_keras_is_served_in_float(
    folder: Path, images: PreprocessedImages
):
    artifact = load_artifact(folder)
    assert artifact.compiled is None
    before = load_engine(artifact).infer(images.comparison).logits
    compile_artifact(artifact, images, kind="float")
    after = load_engine(load_artifact(folder)).infer(images.comparison).logits
    assert after == pytest.approx(before, abs=0.01)


def test_where_the_processor_scores_otherwise_the_keras_is_served(
    compiled: Path, images: PreprocessedImages, caplog: pytest.LogCaptureFixture
):
    artifact = load_artifact(compiled)
    card = artifact.card
    assert card is not None
    assert card.compiled is not None
    expected = card.compiled.phantom_logits
    assert len(set(expected)) == 4
    assert score_phantoms(load_engine(artifact)) == pytest.approx(expected, abs=1e-3)
    assert caplog.text == ""

    def on_another_processor(*logits):
        made = card.compiled.model_copy(update={"phantom_logits": logits})
        return load_engine(replace(artifact, card=card.model_copy(update={"compiled": made})))

    # A probability near 1/2 moves by a quarter of what its logit does.
    nearly = on_another_processor(*(logit + 0.005 for logit in expected))
    assert nearly.card.compiled is not None
    for logits in (
        (*expected[:3], expected[3] + (0.5 if expected[3] < 0 else -0.5)),
        (float("nan"), *expected[1:]),
    ):
        caplog.clear()
        served = on_another_processor(*logits)
        assert "in float" in caplog.text
        assert served.card.compiled is None
        exact = load_engine(replace(artifact, compiled=None)).infer(images.comparison).logits
        assert served.infer(images.comparison).logits.tolist() == exact.tolist()


def test_the_logit_keeps_mean_and_spread(compiled: Path, images: PreprocessedImages):
    artifact = load_artifact(compiled)
    served, exact = (
        load_engine(each).infer(images.calibration).logits
        for each in (artifact, replace(artifact, compiled=None))
    )
    assert served.mean() == pytest.approx(exact.mean(), abs=1e-4)
    # Of all lines through the points of both, the diagonal lies nearest.
    assert np.polyfit(served, exact, 1) == pytest.approx([1, 0], abs=1e-3)


@pytest.mark.parametrize("content", [b"", b"<net>", b"no network"])
def test_files_that_are_no_network_are_refused(compiled: Path, tmp_path: Path, content: bytes):
    artifact = load_artifact(compiled)
    assert artifact.compiled is not None
    broken = tmp_path / "broken.xml"
    broken.write_bytes(content)
    files = replace(artifact.compiled, topology=broken)
    with pytest.raises(ArtifactMismatchError, match="damaged"):
        load_engine(replace(artifact, compiled=files))


def test_float_keeps_the_scores(folder: Path, images: PreprocessedImages):
    card = compile_artifact(load_artifact(folder), images, kind="float")
    assert card == card_of(folder)
    assert card.compiled is not None
    assert (card.compiled.kind, card.compiled.method) == ("float", "float16_weights")
    assert card.compiled.comparison.max_difference < 0.01


def test_what_quantisation_spoils_is_left_in_float(
    folder: Path, images: PreprocessedImages, monkeypatch: pytest.MonkeyPatch
):
    """With nothing allowed to change, every step is tried and only the exact one is kept."""
    monkeypatch.setattr("mammoscope.export.comparison.ALLOWED_DIFFERENCE", 1e-6)
    tried = []
    card = compile_artifact(load_artifact(folder), images, report=tried.append)
    methods = list(dict.fromkeys(trial.method for trial in tried))
    assert methods == [
        "quantised",
        "quantised_full_bias",
        "quantised_except_blocks",
        "bfloat16",
        "float16_weights",
        "float32_weights",
    ]
    assert [trial.accepted for trial in tried[-2:]] == [False, True]
    assert not any(trial.accepted for trial in tried[:-1])
    for trial in tried:
        assert (trial.share_in_8_bits > 0) == trial.method.startswith("quantised")
    assert card.compiled is not None
    assert (card.compiled.method, card.compiled.kind) == ("float32_weights", "float")
    assert card.compiled.comparison.max_difference <= 1e-6
    assert card.compiled.float_blocks == ()


def test_a_processor_without_bfloat16_serves_the_same_weights_in_float32(
    folder: Path,
    images: PreprocessedImages,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    exact = load_engine(load_artifact(folder)).infer(images.comparison).logits
    made = compile_artifact(load_artifact(folder), images, kind="bfloat16").compiled
    assert made is not None
    assert (made.method, made.kind) == ("bfloat16", "float")
    assert made.rounded == (not computes_in_bfloat16())
    assert 0 < made.comparison.max_difference < 0.03
    in_bfloat16 = load_engine(load_artifact(folder)).infer(images.comparison).logits
    if made.rounded:  # no processor's own, then
        in_bfloat16 = make_engine(
            rounded_to_bfloat16(convert_network(folder / NETWORK_NAME)), card_of(folder)
        ).infer(images.comparison).logits  # fmt: skip
    assert 0 < np.abs(in_bfloat16 - exact).max() < 0.05
    monkeypatch.setattr("mammoscope.model.engine.loading.computes_in_bfloat16", lambda: False)
    elsewhere = load_engine(load_artifact(folder))
    assert elsewhere.card.compiled == made
    theirs = elsewhere.infer(images.comparison).logits
    assert np.abs(theirs - exact).max() < np.abs(in_bfloat16 - exact).max()
    assert caplog.text == ""


def test_rounding_leaves_what_bfloat16_can_hold():
    openvino = import_openvino()
    from openvino import opset13

    rng = np.random.default_rng(0)
    kernel, values = (
        (rng.standard_normal(shape) * np.exp2(rng.uniform(-20, 20, shape))).astype(np.float32)
        for shape in ((1, 1, 1, 1), (1, 1, 32, 32))
    )
    pixels = opset13.parameter(values.shape, np.float32)
    product = opset13.convolution(pixels, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    model = openvino.Model([opset13.result(product)], [pixels], "product")
    in_float32 = {"INFERENCE_PRECISION_HINT": "f32"}
    exact, rounded = (
        openvino.compile_model(each, "CPU", in_float32)(values)[0]
        for each in (model, rounded_to_bfloat16(model))
    )
    factors = [each.astype(ml_dtypes.bfloat16).astype(np.float32) for each in (values, kernel)]
    np.testing.assert_array_equal(rounded, factors[0] * factors[1])
    np.testing.assert_array_equal(exact, values * kernel)


def test_only_what_costs_too_much_is_left_in_float(
    tmp_path: Path, images: PreprocessedImages, monkeypatch: pytest.MonkeyPatch
):
    allowed = 0.005
    monkeypatch.setattr("mammoscope.export.comparison.ALLOWED_DIFFERENCE", allowed)
    draw_network(tmp_path / NETWORK_NAME, spread=3.0)
    digest = sha256_of(tmp_path / NETWORK_NAME)
    write_card(tmp_path, Card(version="1", sha256=digest, input_size=SIZE))
    tried = []
    made = compile_artifact(load_artifact(tmp_path), images, report=tried.append).compiled
    assert made is not None
    assert made.method == "quantised_except_blocks"
    # The second of three blocks, whose input is what 8 bits cannot hold.
    assert made.float_blocks == ("2 (12x9x16)",)
    assert made.comparison.max_difference <= allowed
    assert tried[0].comparison.max_difference > allowed
    operations = [25 * 8 * 24 * 18, 9 * 8 * 16 * 12 * 9, 9 * 16 * 16 * 12 * 9, 16 * 12 * 9]
    in_8_bits = (operations[0] + operations[2]) / sum(operations)
    assert made.share_in_8_bits == pytest.approx(in_8_bits)
    assert load_engine(load_artifact(tmp_path)).card.compiled == made


def test_compiling_again_replaces_what_was_compiled(folder: Path, images: PreprocessedImages):
    first = compile_artifact(load_artifact(folder), images).compiled
    second = compile_artifact(load_artifact(folder), images, kind="float").compiled
    assert first is not None
    assert second is not None
    assert first.topology.sha256 != second.topology.sha256
    assert load_engine(load_artifact(folder)).card.compiled == second
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["card.json", NETWORK_NAME, TOPOLOGY_NAME, WEIGHTS_NAME]
    )


def test_a_compilation_that_fails_leaves_the_folder_as_it_was(
    folder: Path, images: PreprocessedImages, monkeypatch: pytest.MonkeyPatch
):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr("mammoscope.export.ladder.loss", lambda comparison: 1.01)
    with pytest.raises(CompilationError):
        compile_artifact(load_artifact(folder), images, kind="float")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_network_without_card_is_not_compiled(folder: Path, images: PreprocessedImages):
    (folder / "card.json").unlink()
    with pytest.raises(ArtifactNotFoundError, match="card"):
        compile_artifact(load_artifact(folder / NETWORK_NAME), images)


def test_a_folder_that_cannot_be_written_to(
    folder: Path, images: PreprocessedImages, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    artifact = load_artifact(folder)
    monkeypatch.setattr("mammoscope.export.compiling.convert_network", lambda _: None)
    monkeypatch.setattr(
        "mammoscope.export.compiling.make_engine",
        lambda *_, **__: ConstantEngine(len(images.labels)),
    )
    with pytest.raises(StorageError):
        compile_artifact(artifact, images)


class ConstantEngine:
    def __init__(self, count: int) -> None:
        self.logits = np.zeros(count, dtype=np.float32)

    def score(self, pixels):
        return self


def test_scores_that_are_no_numbers_are_refused(images: PreprocessedImages):
    card = Card(version="1", sha256="0" * 64, input_size=SIZE)
    numbers = np.linspace(-2, 2, len(images.labels)).astype(np.float32)
    holes = numbers.copy()
    holes[1] = np.nan
    with pytest.raises(CompilationError, match="not a number"):
        Reference(card, images, holes)
    with pytest.raises(CompilationError, match="not a number"):
        Reference(card, images, numbers).compare(holes)


def test_comparison_measures_what_a_hand_would(images: PreprocessedImages):
    few = PreprocessedImages(
        images.calibration, images.comparison[:4], np.array([0, 0, 1, 1]), "pictures"
    )
    card = Card(version="1", sha256="0" * 64, input_size=SIZE)
    ours = np.array([-2.0, 0.5, 0.4, 2.0], dtype=np.float32)
    theirs = np.array([-2.0, -0.1, 0.4, 2.0], dtype=np.float32)
    reference = Reference(card, few, ours)
    found = reference.compare(theirs)
    assert (found.pictures, found.positives, found.labels_changed) == (4, 2, 1)
    assert (found.auc_float, found.auc_compiled) == (0.75, 1.0)
    expected = 1 / (1 + np.exp(-0.5)) - 1 / (1 + np.exp(0.1))
    assert found.max_difference == pytest.approx(expected)
    assert found.mean_difference == pytest.approx(expected / 4)
    assert loss(found) == pytest.approx(max(0.25 / 0.1, expected / 0.03))
    assert loss(reference.compare(ours)) == 0


class TestImages:
    def test_splits_of_the_folder(self, phantom_dataset: Path, tmp_path: Path):
        dataset = read_dataset(phantom_dataset)
        found = read_images(dataset, tmp_path / NETWORK_NAME, SIZE, calibration=5)
        assert found.calibration.shape == (5, *SIZE)
        assert found.calibration.dtype == found.comparison.dtype == np.uint8
        assert found.labels.tolist() == [example.label for example in dataset.split("valid")]
        assert found.source == "pictures"

    def test_validation_patients_of_the_training_run(self, phantom_dataset: Path, tmp_path: Path):
        dataset = read_dataset(phantom_dataset)
        lines = ["file,label,patient_id,part"]
        lines += [
            f"{e.path.name},{e.label},{e.patient_id},{part}"
            for split, part in (("train", "validation"), ("valid", "train"))
            for e in dataset.split(split)
        ]
        (tmp_path / "split.csv").write_text("\n".join(lines))
        found = read_images(dataset, tmp_path / NETWORK_NAME, SIZE)
        assert found.source == "validation"
        assert found.labels.tolist() == [example.label for example in dataset.split("train")]
        assert len(found.calibration) == len(dataset.split("valid"))

    @pytest.mark.parametrize(
        "table", ["", "file,patient_id,part\nother.jpg,1,validation\n", "name\nx\n"]
    )
    def test_a_table_that_knows_none_of_the_images(
        self, phantom_dataset: Path, tmp_path: Path, table: str
    ):
        (tmp_path / "split.csv").write_text(table)
        found = read_images(read_dataset(phantom_dataset), tmp_path / NETWORK_NAME, SIZE)
        assert found.source == "pictures"

    def test_a_folder_without_splits(self, phantom_dataset: Path, tmp_path: Path):
        found = read_images(read_dataset(phantom_dataset / "valid"), tmp_path / "none", SIZE)
        assert len(found.calibration) == len(found.comparison) == len(found.labels)

    def test_images_that_cannot_be_judged(self, phantom_dataset: Path, tmp_path: Path):
        data = tmp_path / "data"
        for label in ("0", "1"):
            (data / label).mkdir(parents=True)
            source = next((phantom_dataset / "valid" / label).iterdir())
            (data / label / source.name).write_bytes(source.read_bytes())
            (data / label / "broken.jpg").write_bytes(b"no image")
        assert len(read_images(read_dataset(data), tmp_path / "none", SIZE).comparison) == 2
        for path in (data / "1").iterdir():
            path.write_bytes(b"no image")
        with pytest.raises(SingleClassError):
            read_images(read_dataset(data), tmp_path / "none", SIZE)
        for path in (data / "0").iterdir():
            path.write_bytes(b"no image")
        with pytest.raises(EmptyDatasetError):
            read_images(read_dataset(data), tmp_path / "none", SIZE)


class TestCommand:
    @pytest.fixture
    def compile_model(self) -> Callable[..., int]:
        return lambda *arguments: main(["compile", *map(str, arguments)])

    def test_compiles_says_so_and_the_model_is_served(
        self, folder: Path, phantom_dataset: Path, compile_model, capsys: pytest.CaptureFixture[str]
    ):
        assert compile_model("--model", folder, "--data", phantom_dataset) == 0
        shown = capsys.readouterr().out
        assert "8 bits" in shown
        assert "Kept: 8 bits (allowed: AUC within 0.1, every probability within 0.03)" in shown
        made = card_of(folder).compiled
        assert made is not None
        assert f"{made.comparison.max_difference:.4f}" in shown
        assert f"{made.comparison.percentile_95_difference:.4f}" in shown
        assert f"{made.speed:.2f}" in shown
        assert load_engine(load_artifact(folder)).card.compiled == made

    def test_without_data_phantoms_serve(
        self, folder: Path, compile_model, capsys: pytest.CaptureFixture[str]
    ):
        assert compile_model("--model", folder, "--kind", "float") == 0
        assert "phantoms stand in" in capsys.readouterr().err
        made = card_of(folder).compiled
        assert made is not None
        assert made.comparison.source == "phantoms"

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (("--calibration", "0"), "at least 1"),
            (("--metadata", "m.csv"), "left out"),
            (("--data", "missing"), "folder"),
        ],
    )
    def test_refusals(self, folder: Path, compile_model, capsys, arguments, reason):
        assert compile_model("--model", folder, *arguments) == 1
        assert reason in capsys.readouterr().err

    def test_a_model_that_is_missing_or_has_no_card(
        self, folder: Path, compile_model, capsys, tmp_path: Path
    ):
        assert compile_model("--model", tmp_path / "missing") == 1
        (folder / "card.json").unlink()
        assert compile_model("--model", folder / NETWORK_NAME) == 1
        assert "with a card" in capsys.readouterr().err


def test_where_nncf_is_not_installed(
    folder: Path, images: PreprocessedImages, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ConfigurationError, match="nncf"):
        compile_artifact(load_artifact(folder), images)


def test_compiling_prints_nothing_of_libraries(folder: Path, tmp_path: Path):
    answer = subprocess.run(
        [sys.executable, "-m", "mammoscope", "compile", "--model", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=600,
        env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    # A line for each form tried.
    assert 6 <= len(answer.stdout.splitlines()) <= 10
    assert len(answer.stderr.splitlines()) == 1, answer.stderr
    assert not (tmp_path / "intel").exists()
