"""Choosing a precision and compiling, with small random networks."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mammoscope.__main__ import main
from mammoscope.data.dataset import read_dataset
from mammoscope.errors import (
    ArtifactNotFoundError,
    CompilationError,
    ConfigurationError,
    EmptyDatasetError,
    SingleClassError,
    StorageError,
)
from mammoscope.export.comparison_images import PreprocessedImages, read_images
from mammoscope.export.precision import choose_precision
from mammoscope.export.score_comparison import LIMITS, Limits, LogitPairs, compare, exceeded
from mammoscope.model.artifact.card import Card, Precision
from mammoscope.model.artifact.folder import NETWORK_NAME, load_artifact, sha256_of, write_card
from mammoscope.model.engine import computes_in, load_engine, score_phantoms
from tests.conftest import not_done

SIZE = (96, 72)
CARD = Card(version="tiny-1", sha256="0" * 64, input_size=SIZE)
ROOT = Path(__file__).resolve().parents[2]

in_bfloat16 = pytest.mark.skipif(
    not computes_in("bfloat16"), reason=not_done("scores in bfloat16; this CPU has none")
)


def draw_network(path: Path) -> None:
    """Save a network of a few layers."""
    import keras

    pixels = keras.Input((*SIZE, 1), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32")(pixels)
    first = keras.layers.Conv2D(8, 5, strides=4, activation="relu", padding="same")
    second = keras.layers.Conv2D(16, 3, strides=2, activation="relu", padding="same")
    logit_map = keras.layers.Conv2D(1, 1, name="score")(second(first(scaled)))
    logit = keras.layers.Flatten()(keras.layers.GlobalAveragePooling2D()(logit_map))
    network = keras.Model(pixels, {"logit": logit, "logit_map": logit_map})
    rng = np.random.default_rng(0)
    for layer in network.layers:
        layer.set_weights([rng.normal(0, 0.3, value.shape) for value in layer.get_weights()])
    network.save(path)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drawn") / NETWORK_NAME
    draw_network(path)
    return path


@pytest.fixture
def folder(drawn: Path, tmp_path: Path) -> Path:
    """A model folder as written by training."""
    made = tmp_path / "model"
    made.mkdir()
    (made / NETWORK_NAME).write_bytes(drawn.read_bytes())
    write_card(made, Card(version="tiny-1", sha256=sha256_of(drawn), input_size=SIZE))
    return made


@pytest.fixture(scope="module")
def images(phantom_dataset: Path) -> PreprocessedImages:
    return read_images(read_dataset(phantom_dataset), phantom_dataset / NETWORK_NAME, CARD)


def card_of(folder: Path) -> Card:
    card = load_artifact(folder).card
    assert card is not None
    return card


@in_bfloat16
def test_bfloat16_is_chosen_if_scores_hardly_change(folder: Path, images: PreprocessedImages):
    exact = load_engine(folder).infer(images.pixels).logits
    compiled = choose_precision(load_artifact(folder), images)
    assert card_of(folder).compiled == compiled
    assert compiled.precision == "bfloat16"
    served = load_engine(folder)
    assert served.card.compiled == compiled
    logits = served.infer(images.pixels).logits
    largest = np.abs(1 / (1 + np.exp(-logits)) - 1 / (1 + np.exp(-exact))).max()
    assert 0 < largest <= LIMITS["bfloat16"].largest
    assert compiled.comparison.max_difference == pytest.approx(largest, abs=1e-6)
    assert compiled.reference_logits == score_phantoms(served)
    assert len(set(compiled.reference_logits)) == 4
    assert set(compiled.packages) == {"keras", "openvino"}


@in_bfloat16
def test_float32_is_chosen_if_scores_in_bfloat16_change(
    folder: Path,
    images: PreprocessedImages,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    exact = load_engine(folder).infer(images.pixels).logits
    limits = {"bfloat16": Limits(auc=0.005, largest=1e-6)}
    monkeypatch.setattr("mammoscope.export.score_comparison.LIMITS", limits)
    compiled = choose_precision(load_artifact(folder), images)
    assert compiled.precision == "float32"
    assert compiled.comparison.max_difference > 1e-6
    assert "Scores in bfloat16 differ too much: probability of an image" in caplog.text
    assert load_engine(folder).infer(images.pixels).logits.tolist() == exact.tolist()


def test_a_cpu_without_bfloat16_cannot_compare(
    folder: Path, images: PreprocessedImages, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("mammoscope.export.precision.computes_in", lambda _: False)
    before = (folder / "card.json").read_bytes()
    with pytest.raises(ConfigurationError, match="does not compute in bfloat16"):
        choose_precision(load_artifact(folder), images)
    assert (folder / "card.json").read_bytes() == before


def test_a_model_without_a_card_is_refused(folder: Path, images: PreprocessedImages):
    (folder / "card.json").unlink()
    with pytest.raises(ArtifactNotFoundError, match="card"):
        choose_precision(load_artifact(folder / NETWORK_NAME), images)


def test_scores_that_are_not_finite_are_refused(images: PreprocessedImages):
    card = Card(version="1", sha256="0" * 64, input_size=SIZE)
    numbers = np.linspace(-2, 2, len(images.labels)).astype(np.float32)
    holes = numbers.copy()
    holes[1] = np.nan
    for both in ((holes, numbers), (numbers, holes)):
        with pytest.raises(CompilationError, match="not a finite number"):
            compare(card, LogitPairs("images", images.labels, *both), "bfloat16")


def test_comparison_agrees_with_a_manual_calculation():
    labels = np.array([0, 0, 1, 1])
    card = Card(version="1", sha256="0" * 64, input_size=SIZE)
    ours = np.array([-2.0, 0.5, 0.4, 2.0], dtype=np.float32)
    theirs = np.array([-2.0, -0.1, 0.4, 2.0], dtype=np.float32)
    found = compare(card, LogitPairs("images", labels, ours, theirs), "int8")
    assert (found.images, found.positives, found.labels_changed) == (4, 2, 1)
    assert (found.auc_float, found.auc_compiled) == (0.75, 1.0)
    expected = 1 / (1 + np.exp(-0.5)) - 1 / (1 + np.exp(0.1))
    assert found.max_difference == pytest.approx(expected)
    assert found.mean_difference == pytest.approx(expected / 4)
    names = ["AUC", "95th percentile", "probability of an image", "share of labels"]
    for name, said in zip(names, exceeded(found), strict=True):
        assert said.startswith(name)


@pytest.mark.parametrize(
    ("precision", "change", "said"),
    [
        ("bfloat16", {"max_difference": 0.0301}, "probability of an image: 0.0301 (at most 0.03)"),
        ("bfloat16", {"auc_compiled": 0.744}, "AUC: 0.0060 (at most 0.005)"),
        ("int8", {"max_difference": 0.0501}, "probability of an image: 0.0501 (at most 0.05)"),
        ("int8", {"auc_compiled": 0.744}, "AUC: 0.0060 (at most 0.005)"),
        (
            "int8",
            {"percentile_95_difference": 0.0151},
            "95th percentile of the probability: 0.0151 (at most 0.015)",
        ),
        ("int8", {"labels_changed": 1}, "share of labels: 0.2500 (at most 0.01)"),
    ],
)
def test_each_limit_of_a_precision_counts(
    precision: Precision, change: dict[str, float], said: str
):
    card = Card(version="1", sha256="0" * 64, input_size=SIZE)
    logits = np.array([-2.0, 0.5, 0.4, 2.0], dtype=np.float32)
    pairs = LogitPairs("images", np.array([0, 0, 1, 1]), logits, logits)
    same = compare(card, pairs, precision)
    assert same.max_difference == 0
    assert exceeded(same) == []
    assert exceeded(same.model_copy(update=change)) == [said]


class TestImages:
    def test_the_split_valid_is_used(self, phantom_dataset: Path, tmp_path: Path):
        dataset = read_dataset(phantom_dataset)
        found = read_images(dataset, tmp_path / NETWORK_NAME, CARD)
        assert found.pixels.shape == (len(dataset.split("valid")), *SIZE)
        assert found.pixels.dtype == np.uint8
        assert found.labels.tolist() == [example.label for example in dataset.split("valid")]
        assert found.source == "images"

    def test_validation_patients_of_the_training_run_are_used(
        self, phantom_dataset: Path, tmp_path: Path
    ):
        dataset = read_dataset(phantom_dataset)
        lines = ["file,label,patient_id,part"]
        lines += [
            f"{e.path.name},{e.label},{e.patient_id},{part}"
            for split, part in (("train", "validation"), ("valid", "train"))
            for e in dataset.split(split)
        ]
        (tmp_path / "split.csv").write_text("\n".join(lines))
        found = read_images(dataset, tmp_path / NETWORK_NAME, CARD)
        assert found.source == "validation"
        assert found.labels.tolist() == [example.label for example in dataset.split("train")]

    def test_training_patients_are_named_as_such(self, phantom_dataset: Path, tmp_path: Path):
        dataset = read_dataset(phantom_dataset)
        lines = [
            f"{e.path.name},{e.label},{e.patient_id},train" for e in dataset.split("train", "valid")
        ]
        (tmp_path / "split.csv").write_text("\n".join(["file,label,patient_id,part", *lines]))
        found = read_images(dataset, tmp_path / NETWORK_NAME, CARD)
        assert found.source == "training"
        assert found.labels.tolist() == [example.label for example in dataset.split("valid")]

    @pytest.mark.parametrize(
        "table", ["", "file,patient_id,part\nother.jpg,1,validation\n", "name\nx\n"]
    )
    def test_a_table_without_the_images_is_ignored(
        self, phantom_dataset: Path, tmp_path: Path, table: str
    ):
        (tmp_path / "split.csv").write_text(table)
        found = read_images(read_dataset(phantom_dataset), tmp_path / NETWORK_NAME, CARD)
        assert found.source == "images"

    def test_all_images_of_a_folder_without_splits_are_used(
        self, phantom_dataset: Path, tmp_path: Path
    ):
        dataset = read_dataset(phantom_dataset / "valid")
        found = read_images(dataset, tmp_path / "none", CARD)
        assert len(found.pixels) == len(found.labels) == len(dataset.examples)

    def test_refused_images_are_left_out(self, phantom_dataset: Path, tmp_path: Path):
        data = tmp_path / "data"
        for label in ("0", "1"):
            (data / label).mkdir(parents=True)
            source = next((phantom_dataset / "valid" / label).iterdir())
            (data / label / source.name).write_bytes(source.read_bytes())
            (data / label / "broken.jpg").write_bytes(b"no image")
        assert len(read_images(read_dataset(data), tmp_path / "none", CARD).pixels) == 2
        for path in (data / "1").iterdir():
            path.write_bytes(b"no image")
        with pytest.raises(SingleClassError):
            read_images(read_dataset(data), tmp_path / "none", CARD)
        for path in (data / "0").iterdir():
            path.write_bytes(b"no image")
        with pytest.raises(EmptyDatasetError):
            read_images(read_dataset(data), tmp_path / "none", CARD)


class TestCommand:
    @pytest.fixture
    def compile_model(self) -> Callable[..., int]:
        return lambda *arguments: main(["compile", *map(str, arguments)])

    @in_bfloat16
    def test_compile_compares_reports_and_serves_the_model(
        self,
        folder: Path,
        phantom_dataset: Path,
        compile_model,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ):
        # Random weights order a dozen phantoms at random.
        limits = {"bfloat16": Limits(auc=0.1, largest=0.03)}
        monkeypatch.setattr("mammoscope.export.score_comparison.LIMITS", limits)
        assert compile_model("--model", folder, "--data", phantom_dataset) == 0
        shown = capsys.readouterr().out
        compiled = card_of(folder).compiled
        assert compiled is not None
        assert f"{compiled.comparison.max_difference:.4f}" in shown
        assert f"{compiled.comparison.percentile_95_difference:.4f}" in shown
        assert "the comparison and the precision, bfloat16." in shown
        assert "Model tiny-1 is compiled for bfloat16; the network is in the cache." in shown
        assert load_engine(folder).card.compiled == compiled

    def test_without_data_the_card_does_not_change(
        self, folder: Path, compile_model, capsys: pytest.CaptureFixture[str]
    ):
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert compile_model("--model", folder) == 0
        assert "compiled for float32" in capsys.readouterr().out
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    def test_a_compiled_folder_is_served_read_only(
        self, folder: Path, compile_model, tmp_path: Path, phantom_folder: Path
    ):
        """It is served without Keras, without a cache and from any path."""
        output = tmp_path / "volume"
        assert compile_model("--model", folder, "--output", output) == 0
        assert compile_model("--model", folder, "--output", output) == 0
        assert sorted(path.name for path in output.iterdir()) == [
            "card.json",
            "compiled",
            NETWORK_NAME,
        ]
        assert (output / "compiled").stat().st_mode & 0o777 == 0o755
        program = (
            "import sys, json\n"
            "sys.modules['keras'] = None\n"
            "from pathlib import Path\n"
            "from mammoscope.model.engine import load_engine\n"
            "from mammoscope.imaging.reading import read_file\n"
            "engine = load_engine(Path(sys.argv[1]))\n"
            "print(engine.predict(read_file(Path(sys.argv[2]))).logit)\n"
            "print(*(name for name, module in sys.modules.items() if module is not None))\n"
        )
        image = min(phantom_folder.iterdir())
        answer = subprocess.run(
            [sys.executable, "-c", program, str(output), str(image)],
            cwd=ROOT, capture_output=True, text=True, check=True, timeout=300,
            env={**os.environ, "MAMMOSCOPE_CACHE": str(tmp_path / "cache")},
        )  # fmt: skip
        logit, names = answer.stdout.splitlines()
        loaded = {name.partition(".")[0] for name in names.split()}
        assert "openvino" in loaded
        assert loaded.isdisjoint(
            {"keras", "tensorflow", "scipy", "sklearn", "pandas", "openvino_telemetry"}
        )
        assert np.isfinite(float(logit))
        assert answer.stderr == ""
        assert not (tmp_path / "cache").exists()

    def test_another_model_is_not_replaced(
        self, folder: Path, tmp_path: Path, compile_model, capsys: pytest.CaptureFixture[str]
    ):
        run = tmp_path / "run"
        run.mkdir()
        for name in (NETWORK_NAME, "card.json"):
            (run / name).write_text("of another model")
        assert compile_model("--model", folder, "--output", run) == 2
        assert "model.keras and card.json of a model" in capsys.readouterr().err
        assert {path.read_text() for path in run.iterdir()} == {"of another model"}

    def test_a_folder_that_was_left_unfinished_is_completed(
        self, folder: Path, tmp_path: Path, compile_model
    ):
        left = tmp_path / "left"
        left.mkdir()
        for name in (NETWORK_NAME, "card.json"):
            shutil.copyfile(folder / name, left / name)
        assert compile_model("--model", folder, "--output", left) == 0
        assert (left / "compiled").is_dir()

    def test_a_model_can_be_compiled_into_its_own_folder(self, folder: Path, compile_model):
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert compile_model("--model", folder, "--output", folder) == 0
        after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        assert after == before
        names = {path.name for path in (folder / "compiled").iterdir()}
        assert names == {"network.json", "network.xml", "network.bin"}
        facts = json.loads((folder / "compiled" / "network.json").read_text())
        assert facts["origin"]["source_sha256"] == sha256_of(folder / NETWORK_NAME)

    @pytest.mark.parametrize(
        ("arguments", "refusal"),
        [
            (("--metadata", "m.csv"), (2, "give --data as well")),
            (("--data", "missing"), (1, "folder")),
            (("--output", "/dev/full/model"), (1, "cannot be written")),
        ],
    )
    def test_refusals(self, folder: Path, compile_model, capsys, arguments, refusal):
        status, reason = refusal
        assert compile_model("--model", folder, *arguments) == status
        assert reason in capsys.readouterr().err

    @pytest.mark.parametrize(
        "arguments", [("--kind", "int8"), ("--kind=bfloat16",), ("--calibration", "64")]
    )
    def test_removed_options_are_explained(self, folder: Path, compile_model, capsys, arguments):
        with pytest.raises(SystemExit) as caught:
            compile_model("--model", folder, *arguments)
        assert caught.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{arguments[0].partition('=')[0]} was removed" in line

    def test_a_missing_model_or_card_is_reported(
        self, folder: Path, compile_model, capsys, tmp_path: Path
    ):
        assert compile_model("--model", tmp_path / "missing") == 1
        (folder / "card.json").unlink()
        assert compile_model("--model", folder / NETWORK_NAME) == 1
        assert "with a card" in capsys.readouterr().err

    def test_an_unwritable_card_is_reported(
        self,
        folder: Path,
        phantom_dataset: Path,
        compile_model,
        capsys,
        monkeypatch: pytest.MonkeyPatch,
    ):
        def refuse(*_: object) -> None:
            raise StorageError("The model's card cannot be written.")

        monkeypatch.setattr("mammoscope.export.precision.write_card", refuse)
        monkeypatch.setattr("mammoscope.export.precision.computes_in", lambda _: True)
        assert compile_model("--model", folder, "--data", phantom_dataset) == 1
        assert "cannot be written" in capsys.readouterr().err


def test_compiling_prints_no_library_output(folder: Path, tmp_path: Path):
    answer = subprocess.run(
        [sys.executable, "-m", "mammoscope", "compile", "--model", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=600,
        env={**os.environ, "HOME": str(tmp_path), "MAMMOSCOPE_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert len(answer.stdout.splitlines()) == 1
    assert answer.stderr == "mammoscope: Compiling model tiny-1 (about 5 s, once).\n"
    assert not (tmp_path / "intel").exists()
