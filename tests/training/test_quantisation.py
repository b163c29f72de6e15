"""Training for 8 bits: what is learned, and that an engine computes the same."""

import contextlib
import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mammoscope.__main__ import main
from mammoscope.data.dataset import read_dataset
from mammoscope.errors import ArtifactMismatchError, ConfigurationError
from mammoscope.export.comparison_images import read_images
from mammoscope.export.precision import choose_precision
from mammoscope.model.artifact.folder import Artifact, load_artifact, write_card
from mammoscope.model.conversion import convert_network, import_openvino
from mammoscope.model.engine import load_engine
from mammoscope.model.fake_quantisation import WEIGHT_LEVELS, remove_ranges
from mammoscope.model.networks import build_network
from mammoscope.settings.training import TrainConfig
from mammoscope.training.batches import as_input
from mammoscope.training.folding import folded
from mammoscope.training.loop import predict
from mammoscope.training.packing import round_weights, save_network
from mammoscope.training.quantisation import (
    Imitation,
    QuantisedConv2D,
    _quantised,
    fit_ranges,
    plain,
    quantise,
    range_variables,
    ranges_of,
)
from mammoscope.training.run_folder import RunPaths
from mammoscope.training.training_run import train

pytestmark = pytest.mark.training

CONFIG = TrainConfig.from_preset("smoke", {"drop_rate": 0.0})

FLOAT = {"INFERENCE_PRECISION_HINT": "f32"}

PLAN = """
[[run]]
name = "exact"  # learns something, or the calibration makes much of little
preset = "smoke"
epochs = 12
learning_rate = 1e-2
folds = 1

[[run]]
name = "quantised"
preset = "smoke"
weights = "run:exact/fold-{fold}"
quantised = true
drop_rate = 0.0
head_epochs = 0
epochs = 4
learning_rate = 3e-4
folds = 1
"""


def network_of(config: TrainConfig) -> keras.Model:
    """A network as if trained: no statistic and no weight is what it starts with."""
    keras.utils.set_random_seed(0)
    network = build_network(config)
    rng = np.random.default_rng(0)
    for layer in network.get_layer("backbone").layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for weight in layer.weights:
                around = 1.0 if "variance" in weight.name or "gamma" in weight.name else 0.0
                weight.assign(around + rng.uniform(-0.3, 0.3, weight.shape))
    return network


def images(count: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (count, 12, 12), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture
def exact(small_network: None) -> keras.Model:
    return network_of(CONFIG)


def test_folding_changes_nothing(exact: keras.Model):
    backbone = exact.get_layer("backbone")
    after = folded(backbone)
    kinds = Counter(type(layer).__name__ for layer in after.layers)
    assert kinds["BatchNormalization"] == 0
    pixels = np.random.default_rng(0).normal(size=(2, 96, 96, 3)).astype(np.float32)
    np.testing.assert_allclose(
        after.predict_on_batch(pixels), backbone.predict_on_batch(pixels), atol=1e-5
    )


def test_normalisation_elsewhere_cannot_be_folded():
    pixels = keras.Input((8, 8, 3))
    normal = keras.layers.BatchNormalization()(keras.layers.ReLU()(pixels))
    with pytest.raises(ValueError, match="must follow a convolution"):
        folded(keras.Model(pixels, normal))


@given(
    arrays(
        np.float32,
        (3, 3, 2, 2),
        elements=st.floats(-8, 8, width=32).filter(lambda value: value == 0 or abs(value) > 1e-6),
    )
)
def test_a_stored_kernel_has_the_values_that_were_learned(kernel):
    """Weights are stored with few bits; quantising them again must find the same integers."""
    once = keras.ops.convert_to_numpy(_quantised(kernel))
    stored = round_weights(once, 10)
    again = keras.ops.convert_to_numpy(_quantised(stored))
    for channel in range(kernel.shape[-1]):
        integers = [
            np.rint(k[..., channel] / max(np.abs(k[..., channel]).max(), 1e-12) * 127)
            for k in (once, stored, again)
        ]
        assert np.abs(integers[0]).max() <= WEIGHT_LEVELS // 2
        assert (integers[0] == integers[1]).all()
        assert (integers[0] == integers[2]).all()
    assert np.abs(once - kernel).max() <= np.abs(kernel).max() / (WEIGHT_LEVELS - 1) * 1.001


def test_ranges_fit_what_the_exact_network_computes(exact: keras.Model):
    quantised = quantise(exact)
    pixels = images(8)
    fit_ranges(quantised, exact, pixels)
    ranges = ranges_of(quantised)
    assert set(ranges) == {"conv1", "conv2", "conv3", "conv4"}  # not the first
    assert all(end > 0 for end in ranges.values())
    logits = predict(exact, pixels)
    assert np.abs(predict(quantised, pixels) - logits).max() < np.ptp(logits) / 20
    same = quantise(plain(quantised), ranges)
    np.testing.assert_allclose(predict(same, pixels), predict(quantised, pixels), atol=1e-4)


def test_ranges_and_weights_learn_to_give_the_exact_outputs(exact: keras.Model):
    pixels = images(32)
    quantised = quantise(exact)
    fit_ranges(quantised, exact, pixels)
    for variable in range_variables(quantised):
        variable.assign(variable / 2)
    before = ranges_of(quantised)
    exact.trainable = False
    taught = Imitation()(quantised.output, exact(quantised.input))
    learner = keras.Model(quantised.input, taught)
    learner.compile(keras.optimizers.Adam(1e-3))
    losses = learner.fit(as_input(pixels), epochs=10, batch_size=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2
    assert all(end != before[name] for name, end in ranges_of(quantised).items())


def saved(exact: keras.Model, folder: Path) -> tuple[Path, dict[str, float]]:
    """The file of a network with ranges, and these."""
    quantised = quantise(exact)
    fit_ranges(quantised, exact, images(4))
    save_network(plain(quantised), folder / "model.keras")
    return folder / "model.keras", ranges_of(quantised)


def test_the_engine_quantises_the_same_tensors_of_inception(tmp_path: Path):
    path, ranges = saved(network_of(CONFIG), tmp_path)
    assert len(ranges) == 93
    model = convert_network(path, ranges)
    found: Counter[float] = Counter()
    without = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Convolution":
            read, weights = (node.input_value(i).get_node() for i in (0, 1))
            if weights.get_type_name() == "Constant":
                without += 1
                continue
            assert weights.get_type_name() == "Multiply"
            integers = weights.input_value(0).get_node().input_value(0)
            assert integers.get_element_type().to_string() == "i8"
            (end,) = ends_of(read)
            found[end] += 1
    assert without == 2  # the first convolution and the head
    assert found == Counter(np.float32(end) for end in ranges.values())
    compiled = import_openvino().Core().compile_model(model, "CPU", FLOAT)
    facts = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    executed = Counter(
        fact["runtimePrecision"].astype(str)
        for fact in facts
        if fact["layerType"].astype(str) == "Convolution"
    )
    assert executed["u8"] + executed["i8"] == 93


def ends_of(node: Any) -> set[np.float32]:
    """Ends of the ranges of the values in a tensor."""
    inputs = [node.input_value(i).get_node() for i in range(node.get_input_size())]
    if node.get_type_name() in ("Concat", "MaxPool"):
        return set().union(*map(ends_of, inputs))
    assert node.get_type_name() == "FakeQuantize"
    assert inputs[1].data == 0
    return {np.float32(inputs[2].data)}


def test_removed_ranges_leave_the_plain_network(exact: keras.Model, tmp_path: Path):
    path, ranges = saved(exact, tmp_path)
    model = convert_network(path, ranges)
    remove_ranges(model)
    core = import_openvino().Core()
    pixels = as_input(images(1))
    ours, theirs = (
        core.compile_model(each, "CPU", FLOAT)(pixels) for each in (model, convert_network(path))
    )
    for name in ("logit", "logit_map"):  # the .keras has each weight rounded to 10 bits
        np.testing.assert_allclose(ours[name], theirs[name], rtol=2**-10)


def test_ranges_of_another_network_are_refused(exact: keras.Model, tmp_path: Path):
    path, _ = saved(exact, tmp_path)
    with pytest.raises(ArtifactMismatchError, match="layers that the network lacks"):
        convert_network(path, {"elsewhere": 1.0})


@pytest.fixture(scope="module")
def quantised_run(phantom_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one fold, from a network of the same fold."""
    from mammoscope.model import networks
    from tests.training import small_network

    folder = tmp_path_factory.mktemp("quantised")
    (folder / "plan.toml").write_text(PLAN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks._BACKBONES, "inceptionv3", small_network.SMALL)
        patch.setattr("mammoscope.cli.trainings._train", small_network.train)
        table = folder / "folds.csv"
        assert main(["dev", "folds", "--data", str(phantom_dataset), "--output", str(table)]) == 0
        arguments = ["--data", phantom_dataset, "--runs", folder / "runs", "--records",
                     folder / "records", "--folds", table]  # fmt: skip
        assert main(["dev", "trainings", str(folder / "plan.toml"), *map(str, arguments)]) == 0
    return folder / "runs" / "quantised" / "fold-1"


def test_a_run_records_ranges_and_the_comparison(quantised_run: Path):
    card = load_artifact(quantised_run).require_card()
    assert card.quantisation is not None
    assert set(card.quantisation.ranges) == {"conv1", "conv2", "conv3", "conv4"}
    compared = card.quantisation.comparison
    assert (compared.precision, compared.source) == ("int8", "validation")
    with (quantised_run / "validation_scores.csv").open() as stream:
        assert compared.images == sum(1 for _ in csv.DictReader(stream))
    assert compared.allowed_percentile_95 == 0.015
    history = json.loads((quantised_run / "history.json").read_text())
    # The loss is the distance to the exact network's outputs, not the labels'.
    assert all(0 < entry["train"]["loss"] < 1e-3 for entry in history)
    # Plain Keras opens the network.
    network = keras.saving.load_model(quantised_run / "model.keras", compile=False)
    assert not any(
        isinstance(layer, keras.layers.BatchNormalization | QuantisedConv2D)
        for layer in network.get_layer("backbone").layers
    )


class _KilledError(Exception):
    """Stands for a signal."""


def test_a_killed_run_continues_to_the_same_history(
    quantised_run: Path, phantom_dataset: Path, tmp_path: Path, small_network: None
):
    config = TrainConfig.from_record((quantised_run / "config.json").read_bytes())
    table = quantised_run.parents[2] / "folds.csv"
    paths = RunPaths(phantom_dataset, tmp_path / "run", tmp_path / "cache", folds=table)

    def die(said: str) -> None:
        if said.startswith("Epoch 2 "):
            raise _KilledError

    with pytest.raises(_KilledError):
        train(config, paths, die)
    train(config, paths, lambda _: None, resume=True)
    ours, theirs = (
        [
            {key: value for key, value in entry.items() if "seconds" not in key}
            for entry in json.loads((run / "history.json").read_text())
        ]
        for run in (paths.output, quantised_run)
    )
    assert ours == theirs
    networks = [
        keras.saving.load_model(run / "model.keras", compile=False)
        for run in (paths.output, quantised_run)
    ]
    for ours, theirs in zip(*(network.get_weights() for network in networks), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    cards = [load_artifact(run).require_card() for run in (paths.output, quantised_run)]
    assert cards[0].quantisation == cards[1].quantisation


@pytest.fixture
def model(quantised_run: Path, tmp_path: Path) -> Path:
    """A copy of the run's model."""
    for name in ("model.keras", "card.json", "split.csv"):
        (tmp_path / name).write_bytes((quantised_run / name).read_bytes())
    return tmp_path


def test_the_network_is_served_in_8_bits(
    model: Path, quantised_run: Path, phantom_dataset: Path, caplog: pytest.LogCaptureFixture
):
    artifact = load_artifact(model)
    card = artifact.require_card()
    chosen = read_images(read_dataset(phantom_dataset), artifact.network, card)
    compiled = choose_precision(artifact, chosen)
    assert compiled.precision == "int8"
    assert compiled.comparison.precision == "int8"
    served = load_engine(model)
    assert served.card.compiled == compiled
    logits = served.infer(chosen.pixels).logits
    exact = load_engine(Artifact(artifact.network, card, "float32")).infer(chosen.pixels).logits
    assert np.abs(logits - exact).max() > 0
    with (quantised_run / "validation_scores.csv").open() as stream:
        recorded = sorted(float(row["logit"]) for row in csv.DictReader(stream))
    np.testing.assert_allclose(sorted(logits), recorded, atol=0.05)

    # Where 8 bits give other scores, the same weights compute in float32.
    shifted = tuple(logit + 1.0 for logit in compiled.reference_logits)
    other = card.model_copy(
        update={"compiled": compiled.model_copy(update={"reference_logits": shifted})}
    )
    write_card(model, other)
    fallen_back = load_engine(model)
    assert fallen_back.card.compiled is None
    assert "falling back to float" in caplog.text
    # But for the rounding of weights in the .keras to 10 bits.
    np.testing.assert_allclose(fallen_back.infer(chosen.pixels).logits, exact, atol=1e-4)


def test_8_bits_that_missed_a_limit_are_not_served(
    model: Path, phantom_dataset: Path, caplog: pytest.LogCaptureFixture
):
    artifact = load_artifact(model)
    card = artifact.require_card()
    assert card.quantisation is not None
    worse = card.quantisation.comparison.model_copy(update={"percentile_95_difference": 0.016})
    learned = card.quantisation.model_copy(update={"comparison": worse})
    write_card(model, card.model_copy(update={"quantisation": learned}))
    artifact = load_artifact(model)
    chosen = read_images(read_dataset(phantom_dataset), artifact.network, card)
    with contextlib.suppress(ConfigurationError):  # without bfloat16, there is nothing to choose
        assert choose_precision(artifact, chosen).precision != "int8"
    assert "95th percentile of the probability: 0.0160 (at most 0.015)" in caplog.text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": "imagenet"}, "the .keras of an earlier run"),
        ({"weights": "none"}, "the .keras of an earlier run"),
        ({"drop_rate": 0.5}, "drop_rate 0"),
        ({"head_epochs": 1}, "head_epochs"),
        ({"precision": "mixed_bfloat16"}, "precision auto or float32"),
        ({"augmentation": "jitter"}, "keeps all tissue"),
        ({"quantised": False, "imitation": True, "drop_rate": 0.5}, "imitation needs drop_rate 0"),
    ],
)
def test_settings_that_do_not_go_together(changes: dict[str, Any], said: str):
    settings = {"weights": "run:exact", "quantised": True, "drop_rate": 0.0, **changes}
    with pytest.raises(ConfigurationError, match=said):
        TrainConfig.from_preset("default", settings)
