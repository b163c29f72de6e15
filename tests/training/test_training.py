"""The real loop on phantoms: TensorFlow, two epochs, killed and resumed.

`finished` is a run of Inception v3, as users train it. What is around the network is tested with a
small one: see `tests.training.small_network`.
"""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mammoscope.__main__ import main
from mammoscope.errors import RunError
from mammoscope.model.artifact.folder import load_artifact, sha256_of
from mammoscope.settings.training import TrainConfig
from tests.conftest import SMOKE, STAGES

pytestmark = pytest.mark.training

ROOT = Path(__file__).resolve().parents[2]

TRAIN = (str(ROOT / "train.py"),)
TRAIN_SMALL = ("-m", "tests.training.small_network", "train")

Train = Callable[..., tuple[int, str, str]]
"""Trains in this process; returns the exit status, stdout and stderr."""


def run(program: tuple[str, ...], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Train in a process."""
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        cwd=ROOT,
    )


@pytest.fixture
def train(small_network: None, capfd: pytest.CaptureFixture[str]) -> Train:
    """Train the small network in this process, where TensorFlow has been started already."""

    def train_it(*arguments: object) -> tuple[int, str, str]:
        try:
            status = main(["train", *map(str, arguments)])
        except SystemExit as end:  # argparse's
            status = int(str(end.code))
        return status, *capfd.readouterr()

    return train_it


def record(folder: Path) -> list[dict]:
    """History without the times, which are not reproducible."""
    history = json.loads((folder / "history.json").read_text())
    return [{key: entry[key] for key in entry if "seconds" not in key} for entry in history]


@pytest.fixture(scope="module")
def finished(phantom_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "whole"
    answer = run(TRAIN, *STAGES, "--data", phantom_dataset, "--output", output)
    assert answer.returncode == 0, answer.stderr
    assert f"The model is in {output}" in answer.stdout
    epochs = [line for line in answer.stdout.splitlines() if line.startswith("Epoch ")]
    assert [line.split(":")[0] for line in epochs] == [f"Epoch {n} of 3" for n in (1, 2, 3)]
    return output


@pytest.mark.parametrize("kept", [0, 1, 100, -1, -100])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, kept: int):
    """For example by a full disk of the machine that it was copied to."""
    from mammoscope.training.loop import Loop

    whole = tmp_path / "whole.npz"
    np.savez(whole, history=np.array("[]"), weight_0=np.zeros(100))
    checkpoint = tmp_path / "checkpoint.npz"
    checkpoint.write_bytes(whole.read_bytes()[:kept])
    loop = Loop(None, TrainConfig.from_preset("smoke", {}), None, None, checkpoint)
    with pytest.raises(RunError, match="damaged"):
        loop.run(lambda history: None)


def test_a_run_writes_its_full_record(finished: Path):
    names = {path.name for path in finished.iterdir()}
    assert names >= {
        "card.json", "config.json", "environment.json", "figures", "history.json", "model.keras",
        "network.json", "split.csv", "summary.txt", "validation_scores.csv",
    }  # fmt: skip
    assert "checkpoint.npz" not in names
    assert TrainConfig.from_record((finished / "config.json").read_bytes()).epochs == 2
    history = json.loads((finished / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert [entry["stage"] for entry in history] == ["head", "tune", "tune"]
    for entry in history:
        for part in ("train", "validation"):
            assert 0 <= entry[part]["accuracy"] <= 1
            assert 0 <= entry[part]["auc"] <= 1
            assert entry[part]["loss"] > 0
        assert entry["seconds"]["train"] > 0
        assert entry["processor_seconds"]["train"] > 0
    network = json.loads((finished / "network.json").read_text())
    assert network["parameters"] > 20_000_000
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["backend"] == "tensorflow"
    assert "mixed10" in (finished / "summary.txt").read_text()
    figures = {path.stem for path in (finished / "figures").glob("*.svg")}
    assert len(figures) >= 4


def test_no_patient_is_in_two_parts(finished: Path):
    with (finished / "split.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    parts = {part: {row["patient_id"] for row in rows if row["part"] == part}
             for part in ("train", "validation", "test")}  # fmt: skip
    assert all(parts.values())
    assert not parts["train"] & parts["validation"]
    assert not (parts["train"] | parts["validation"]) & parts["test"]


def test_the_card_matches_the_model_and_describes_the_training(finished: Path):
    card = load_artifact(finished).card
    assert card is not None
    assert card.input_size == (96, 96)
    assert set(card.operating_points) == {"default", "high_sensitivity", "high_specificity"}
    assert card.training["data"]["leaky"] is False
    assert set(card.metrics["validation"]["auc"]) == {"value", "low", "high"}
    assert set(card.metrics["validation"]["curves"]) == {"roc", "reliability", "decision"}
    assert (finished / "model.keras").stat().st_size <= 50_000_000


def test_the_saved_model_opens_with_plain_keras_and_scores_as_recorded(
    finished: Path, phantom_dataset: Path
):
    import keras

    from mammoscope.data.dataset import read_dataset
    from mammoscope.imaging.preprocessing import preprocess
    from mammoscope.imaging.reading import read_file

    network = keras.saving.load_model(finished / "model.keras")
    with (finished / "validation_scores.csv").open() as stream:
        rows = list(csv.DictReader(stream))[:4]
    data = json.loads((finished / "card.json").read_text())["training"]
    assert data["config"]["backbone"] == "inceptionv3"
    images = {e.path.name: e.path for e in read_dataset(phantom_dataset).examples}
    batch = np.stack([preprocess(read_file(images[row["file"]]), (96, 96)).pixels for row in rows])[
        ..., None
    ]
    logits = keras.ops.convert_to_numpy(network(batch)["logit"])[:, 0]
    assert logits == pytest.approx([float(row["logit"]) for row in rows], abs=1e-3)


KILLED = """
import os, signal, sys
from mammoscope.__main__ import main
from mammoscope.training import training_run
from tests.training.small_network import use_small_network

write, epochs = training_run.write_json, int(sys.argv[1])

def write_and_die(path, content):
    write(path, content)
    if path.name == "history.json" and len(content) == epochs:
        os.kill(os.getpid(), signal.SIGKILL)

training_run.write_json = write_and_die
use_small_network()
main(["train", *sys.argv[2:]])
"""


def kill_after(epochs: int, output: Path, *arguments: object) -> None:
    """Start a run that is killed once its history has this many epochs."""
    killed = run(("-c", KILLED, str(epochs)), *arguments)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(record(output)) == epochs


def test_a_killed_run_resumes_with_the_same_result(
    small_run: Path, phantom_dataset: Path, tmp_path: Path, train: Train
):
    """Killed between two stages, then within one; that a seed repeats a run is shown as well."""
    output = tmp_path / "killed"
    arguments = (*STAGES, "--data", phantom_dataset, "--output", output)
    kill_after(1, output, *arguments)
    status, _, refusal = train(*arguments)
    assert status == 1
    assert "--resume" in refusal
    status, _, refusal = train(*arguments, "--resume", "--drop-rate", "0.1")
    assert status == 1
    assert "drop_rate" in refusal
    kill_after(2, output, *arguments, "--resume")
    early = tmp_path / "early"
    shutil.copytree(output, early)
    stop = ("--resume", "--stop-after", 2)
    status, _, errors = train(*STAGES, "--data", phantom_dataset, "--output", early, *stop)
    assert status == 0, errors
    assert record(early) == record(small_run)[:2]
    assert json.loads((early / "config.json").read_text())["stop_after"] == 2
    assert load_artifact(early).card is not None
    answer = run(TRAIN_SMALL, *arguments, "--resume")
    assert answer.returncode == 0, answer.stderr
    assert record(output) == record(small_run)
    assert sha256_of(output / "model.keras") == sha256_of(small_run / "model.keras")


def test_equal_weights_make_equal_files(small_run: Path, tmp_path: Path):
    import keras

    from mammoscope.training.packing import save_network

    released = (small_run / "model.keras").read_bytes()
    for copy in (tmp_path / "first.keras", tmp_path / "second.keras"):
        network = keras.saving.load_model(small_run / "model.keras")  # at other memory addresses
        save_network(network, copy)
        assert copy.read_bytes() == released
    kernel = network.get_layer("score").trainable_weights[0]
    kernel.assign(kernel + 1)
    save_network(network, copy)
    assert copy.read_bytes() != released
    assert {path.name for path in tmp_path.iterdir()} == {"first.keras", "second.keras"}


def test_one_training_at_a_time_in_a_folder(phantom_dataset: Path, tmp_path: Path, train: Train):
    """A second training is refused; tests/training/test_run_folder.py kills the first."""
    output = tmp_path / "run"
    arguments = (*SMOKE, "--epochs", 5000, "--data", phantom_dataset, "--output", output)
    plan = tmp_path / "plan.toml"
    settings = "batch_size = 16\nvalidation_fraction = 0.34\nepochs = 5000\n"
    plan.write_text(f'[[run]]\nname = "run"\npreset = "smoke"\n{settings}')
    begin = [sys.executable, *TRAIN_SMALL, *map(str, arguments)]
    with subprocess.Popen(begin, stderr=subprocess.DEVNULL, cwd=ROOT) as first:
        deadline = time.monotonic() + 100
        while not (output / "config.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        second = train(*arguments, "--resume")
        queue = subprocess.run(
            [sys.executable, "-m", "mammoscope", "dev", "trainings", plan, "--data",
             phantom_dataset, "--runs", tmp_path, "--records", tmp_path / "records"],
            capture_output=True, text=True, timeout=500, check=False, cwd=ROOT,
        )  # fmt: skip
        assert first.poll() is None
        first.kill()
    for status, _, refusal in (second, (queue.returncode, queue.stdout, queue.stderr)):
        assert status == 1
        assert "Another training is running in the output folder" in refusal
        assert "Traceback" not in refusal


def test_resuming_a_complete_run_refits_the_cards_levels(
    small_run: Path, phantom_dataset: Path, tmp_path: Path, train: Train
):
    """As for a run that ended before cards knew levels; nothing else changes."""
    output = tmp_path / "complete"
    shutil.copytree(small_run, output)
    whole = json.loads((output / "card.json").read_text())
    assert set(whole["levels"]) == {"breast", "patient"}
    bare = json.loads(json.dumps(whole))
    bare["levels"] = {}
    del bare["metrics"]["validation"]["rules"]
    (output / "card.json").write_text(json.dumps(bare))
    status, printed, errors = train(
        *STAGES, "--data", phantom_dataset, "--output", output, "--resume"
    )
    assert status == 0, errors
    assert "complete" in printed
    renewed = json.loads((output / "card.json").read_text())
    for level, fitted in whole["levels"].items():
        assert renewed["levels"][level]["calibration"] == pytest.approx(
            fitted["calibration"], rel=1e-3
        )
    assert {**renewed, "levels": None, "metrics": None} == {
        **whole, "levels": None, "metrics": None,
    }  # fmt: skip


def test_a_run_is_distilled_from_earlier_runs(
    small_run: Path, phantom_dataset: Path, tmp_path: Path, train: Train
):
    """By a teacher that is certain of tumours everywhere, and nothing by the labels."""
    teacher = tmp_path / "teacher"
    shutil.copytree(small_run, teacher)
    card = json.loads((teacher / "card.json").read_text())
    card["calibration"] = {"slope": 1e-6, "intercept": 6.0}
    (teacher / "card.json").write_text(json.dumps(card))
    output = tmp_path / "taught"
    status, _, errors = train(
        *STAGES, "--head-epochs", "0", "--epochs", "2", "--learning-rate", "1e-3",
        "--augmentation", "none", "--ema-momentum", "0", "--data", phantom_dataset,
        "--output", output, "--teachers", teacher, "--teacher-share", "1", "--smoothing", "2",
    )  # fmt: skip
    assert status == 0, errors
    with (output / "validation_scores.csv").open() as stream:
        logits = [float(row["logit"]) for row in csv.DictReader(stream)]
    assert min(logits) > 0
    config = json.loads((output / "card.json").read_text())["training"]["config"]
    assert config["teachers"] == ["teacher"]


def test_a_teacher_gets_images_as_in_its_training(
    small_run: Path, phantom_dataset: Path, tmp_path: Path, small_network: None
):
    """Without smoothing, though the network that it teaches has some."""
    import keras

    from mammoscope.data.dataset import read_dataset
    from mammoscope.model.networks import build_network, load_weights
    from mammoscope.training.batches import preprocess_examples
    from mammoscope.training.loop import predict
    from mammoscope.training.teachers import teacher_answers

    stored = TrainConfig.from_record((small_run / "config.json").read_bytes())
    config = stored.model_copy(update={"smoothing": 3, "teachers": (str(small_run),)})

    def load(its: TrainConfig) -> keras.Model:
        network = build_network(its)
        load_weights(network, its)
        return network

    examples = read_dataset(phantom_dataset).split("train")[:6]
    learned = preprocess_examples(examples, config, tmp_path, "train")
    answers = teacher_answers(learned, (), config, load)
    alone = predict(keras.saving.load_model(small_run / "model.keras"), learned.pixels)
    calibration = load_artifact(small_run).card.calibration
    expected = [calibration.probability(float(logit)) for logit in alone]
    assert answers == pytest.approx(expected, abs=1e-3)
    assert np.ptp(alone) > 0


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("none there", "not the folder of a training run"),
        ("other head", "differs from the new network in head"),
        ("removed head", "used head depths, which this version no longer supports"),
        ("no split", "no readable split.csv"),
        ("other split", "was trained on validation or test patients"),
    ],
)
def test_invalid_teachers_are_refused(
    small_run: Path, phantom_dataset: Path, tmp_path: Path, train: Train, *,
    damage: str, message: str,
):  # fmt: skip
    teacher = tmp_path / "teacher"
    shutil.copytree(small_run, teacher)
    split = (teacher / "split.csv").read_text()
    if damage == "none there":
        (teacher / "config.json").unlink()
    elif damage == "other head":
        config = json.loads((teacher / "config.json").read_text())
        (teacher / "config.json").write_text(json.dumps({**config, "head": "mean"}))
    elif damage == "removed head":
        config = json.loads((teacher / "config.json").read_text())
        (teacher / "config.json").write_text(json.dumps({**config, "head": "depths"}))
    elif damage == "no split":
        (teacher / "split.csv").unlink()
    else:
        (teacher / "split.csv").write_text(split.replace(",validation,", ",train,", 1))
    status, _, errors = train(
        *STAGES, "--data", phantom_dataset, "--output", tmp_path / "run", "--teachers", teacher
    )
    assert status == 1
    assert message in errors
    assert str(tmp_path) not in errors
    assert "Traceback" not in errors


REMOVED = sorted(
    path.parent
    for path in (ROOT / "model" / "experiments").glob("*/config.json")
    if any(word in path.read_text() for word in ('"depths"', '"mean_max"', '"light"', '"strong"'))
)


def test_runs_with_removed_features_are_not_resumed(
    phantom_dataset: Path, tmp_path: Path, train: Train
):
    assert len(REMOVED) > 5
    for record in REMOVED:
        output = tmp_path / record.name
        shutil.copytree(record, output)
        status, _, error = train("--data", phantom_dataset, "--output", output, "--resume")
        assert status == 1
        assert "no longer supports" in error
        assert error.count("\n") == 1


def test_weights_with_removed_features_are_refused(tmp_path: Path):
    import keras

    from mammoscope.errors import ConfigurationError
    from mammoscope.model.networks import build_network, load_weights

    pixels = keras.Input((96, 96, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(pixels)
    standard = keras.layers.BatchNormalization(name="standardise")(pooled)
    keras.Model(pixels, keras.layers.Dense(1, name="score")(standard)).save(tmp_path / "old.keras")
    config = TrainConfig.from_preset("smoke", {"weights": str(tmp_path / "old.keras")})
    with pytest.raises(ConfigurationError, match="head depths or mean_max"):
        load_weights(build_network(config), config)


INTERRUPTED_AMID_BATCHES = """
import itertools, os, signal, sys, time
from mammoscope.__main__ import main
from mammoscope.training import batches
from tests.training.small_network import use_small_network

augmented, made = batches.augmented, itertools.count(1)

def slow(*arguments):
    if next(made) == 60:  # in the second epoch, with batches ahead of the network still to be made
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
    return augmented(*arguments)

batches.augmented = slow
use_small_network()
sys.exit(main(["train", *sys.argv[1:]]))
"""


def test_ctrl_c_stops_at_once_and_keeps_completed_epochs(phantom_dataset: Path, tmp_path: Path):
    output = tmp_path / "interrupted"
    arguments = (*SMOKE, "--batch-size", "4", "--epochs", "50", "--data", phantom_dataset)
    answer = run(("-c", INTERRUPTED_AMID_BATCHES), *arguments, "--output", output)
    assert answer.returncode == 130, answer.stderr
    assert "continue with --resume" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert (output / "checkpoint.npz").is_file()


@pytest.mark.parametrize(
    ("prepare_folder", "status", "message"),
    [
        ("missing", 1, "does not exist"),
        ("empty", 1, "has no images"),
        ("one class", 1, "labels 0 and 1"),
        ("text named jpg", 1, "labels 0 and 1"),
        ("bad size", 2, "not HEIGHTxWIDTH"),
        ("tiny size", 2, "between 96 and 4096"),
        ("weights", 1, "must be imagenet"),
        ("full disk", 1, "cannot be"),
    ],
)
def test_bad_input_is_reported_in_one_line(
    phantom_dataset: Path, tmp_path: Path, train: Train, *,
    prepare_folder: str, status: int, message: str,
):  # fmt: skip
    data = tmp_path / "data"
    output = tmp_path / "run"
    options: list[str] = []
    if prepare_folder == "missing":
        pass
    elif prepare_folder == "empty":
        data.mkdir()
    elif prepare_folder in ("one class", "text named jpg"):
        shutil.copytree(phantom_dataset / "train" / "0", data / "train" / "0")
        if prepare_folder == "text named jpg":
            (data / "train" / "1").mkdir()
            for i in range(12):
                (data / "train" / "1" / f"{i}_{i}_png.rf.0.jpg").write_text("no image")
    else:
        data = phantom_dataset
    if prepare_folder == "bad size":
        options = ["--input-size", "large"]
    elif prepare_folder == "tiny size":
        options = ["--input-size", "20x20"]
    elif prepare_folder == "weights":
        options = ["--weights", "elsewhere.h5"]
    elif prepare_folder == "full disk":
        output = Path("/dev/full/run")
    ended, _, errors = train(*SMOKE, "--data", data, "--output", output, *options)
    assert ended == status
    assert message in errors
    assert "Traceback" not in errors


def test_a_run_with_unavailable_weights_is_started_over(
    phantom_dataset: Path, tmp_path: Path, train: Train
):
    where = ("--data", phantom_dataset, "--output", tmp_path / "run")
    for options in (["--weights", "a.h5"], ["--weights", "b.keras", "--seed", "7"]):
        status, _, errors = train(*SMOKE, *where, *options)
        assert status == 1
        assert "has a run" not in errors
        assert "must be imagenet" in errors
    assert (tmp_path / "run").is_dir()


def test_a_published_split_that_leaks_is_divided_anew_or_called_leaky(phantom_dataset: Path):
    from mammoscope.data.dataset import Dataset, read_dataset
    from mammoscope.training.division import divide

    dataset = read_dataset(phantom_dataset)
    examples = [
        # Every other image of the training patients is moved into the test folder.
        _moved(example, "test") if i % 2 and example.split == "train" else example
        for i, example in enumerate(dataset.examples)
    ]
    leaky = Dataset(dataset.root, tuple(examples), has_metadata=True)
    config = TrainConfig.from_preset("smoke", {"validation_fraction": 0.34})
    anew = divide(leaky, config)
    assert anew.facts["kind"] == "divided anew by patient"
    assert anew.facts["shared_patients"] > 0
    assert not anew.facts["leaky"]
    assert anew.split.test
    published = divide(leaky, config.model_copy(update={"split": "published"}))
    assert published.facts["leaky"] is True
    assert published.split.test == ()


def _moved(example, split):
    from dataclasses import replace

    return replace(example, split=split)


def test_rounding_the_weights_moves_scores_by_less_than_0_005(tmp_path: Path):
    import keras

    from mammoscope.model.networks import build_network
    from mammoscope.training.packing import save_network

    keras.utils.set_random_seed(1)
    network = build_network(TrainConfig.from_preset("smoke", {}))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 96, 96, 1)).astype(np.uint8)
    before = keras.ops.convert_to_numpy(network(pixels)["logit"])
    save_network(network, tmp_path / "a.keras")
    after = keras.ops.convert_to_numpy(
        keras.saving.load_model(tmp_path / "a.keras")(pixels)["logit"]
    )
    assert np.abs(after - before).max() < 0.005
    assert (tmp_path / "a.keras").stat().st_size < 50_000_000


@pytest.mark.parametrize("backbone", ["inceptionv3", "resnet101v2", "xception"])
def test_every_backbone_builds_with_every_head(backbone: str):
    from mammoscope.model.networks import build_network, choose_trainable

    for head in ("mean", "logit_map"):
        config = TrainConfig.from_preset("smoke", {"backbone": backbone, "head": head})
        network = build_network(config)
        assert set(network.output) == {"logit", "logit_map"}
        assert network.output["logit"].shape == (None, 1)
        choose_trainable(network, config, "none")
        assert len(network.get_layer("backbone").trainable_variables) == 0
        choose_trainable(network, config, "all")
        everything = len(network.get_layer("backbone").trainable_variables)
        choose_trainable(network, config, "auto")
        assert 0.3 < len(network.get_layer("backbone").trainable_variables) / everything < 1


@pytest.mark.parametrize("head", ["mean", "logit_map"])
def test_a_run_starts_from_an_earlier_runs_head(head: str, tmp_path: Path, small_network: None):
    from mammoscope.model.networks import build_network, load_weights

    earlier = build_network(TrainConfig.from_preset("smoke", {"head": head}))
    earlier.save(tmp_path / "earlier.keras")
    config = TrainConfig.from_preset(
        "smoke", {"head": head, "weights": str(tmp_path / "earlier.keras")}
    )
    network = build_network(config)
    load_weights(network, config)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 1)).astype(np.uint8)
    logits = [each.predict_on_batch(pixels)["logit"] for each in (earlier, network)]
    assert logits[0] == pytest.approx(logits[1], abs=1e-6)
    assert np.ptp(logits[0]) > 0


@pytest.mark.parametrize(("times", "rows"), [(2, 0), (0, 2)])
def test_smoothing_is_a_binomial_low_pass_inside_the_network(times: int, rows: int):
    import keras

    from mammoscope.model.networks import build_network

    smoothing = {"smoothing": times, "smoothing_width": rows}
    network = build_network(TrainConfig.from_preset("smoke", smoothing))
    smoothed = keras.Model(network.input, network.get_layer("smooth_1").output)
    pixels = np.full((2, 96, 96, 1), 40, np.uint8)
    pixels[1, 50, 60] = 200
    flat, peak = keras.ops.convert_to_numpy(smoothed(pixels))[..., 0]
    assert flat == pytest.approx(40 / 127.5 - 1, abs=1e-5)  # to the very edge
    binomial = np.outer([1, 2, 1] if times else [0, 0, 4], [1, 2, 1]) / 16
    assert (peak - flat)[48:51, 58:61] == pytest.approx(binomial * 160 / 127.5, abs=1e-5)
    assert np.abs(peak - flat).sum() == pytest.approx(160 / 127.5, rel=1e-4)


def test_parameters_and_operations_agree_with_the_papers():
    """Millions of parameters and of multiply-adds without the top, from the papers' tables."""
    import keras

    from mammoscope.model.complexity import complexity

    size = (224, 224, 3)
    plain = keras.applications.ResNet50(include_top=False, weights=None, input_shape=size)
    assert complexity(plain)["multiply_adds"] == pytest.approx(3.86e9, rel=0.01)  # of 3.8e9
    mobile = keras.applications.MobileNet(include_top=False, weights=None, input_shape=size)
    assert complexity(mobile)["multiply_adds"] == pytest.approx(568e6, rel=0.01)  # of 569e6
    assert complexity(mobile)["parameters"] == mobile.count_params()


def test_a_network_for_whole_images_is_not_served(tmp_path: Path):
    from mammoscope.errors import ArtifactMismatchError
    from mammoscope.model.artifact.card import Card
    from mammoscope.model.artifact.folder import sha256_of, write_card

    (tmp_path / "model.keras").write_bytes(b"weights")
    digest = sha256_of(tmp_path / "model.keras")
    write_card(tmp_path, Card(version="1", sha256=digest, input_size=(96, 96), crop=False))
    with pytest.raises(ArtifactMismatchError, match="whole images"):
        load_artifact(tmp_path)


def test_the_maps_mean_is_the_logit():
    """The mean of the map is the logit, for any image."""
    import keras

    from mammoscope.model.networks import build_network

    keras.utils.set_random_seed(2)
    network = build_network(TrainConfig.from_preset("smoke", {}))
    rng = np.random.default_rng(0)
    contrasts = np.array([1, 3, 10, 100]).reshape(4, 1, 1, 1)
    pixels = (rng.integers(0, 256, (4, 96, 96, 1)) // contrasts).astype(np.uint8)
    answer = network.predict_on_batch(pixels)
    differences = answer["logit"][:, 0] - answer["logit_map"].mean(axis=(1, 2, 3))
    spread = float(np.ptp(answer["logit"]))
    assert spread > 0
    assert np.abs(differences).max() < 1e-3 * spread


def test_these_tests_run_on_tensorflow():
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
