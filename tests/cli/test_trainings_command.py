"""Planned trainings: the list, and the queue on phantoms."""

import csv
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mammoscope.__main__ import main
from mammoscope.cli.trainings import _claim
from mammoscope.data.fold_table import read_folds
from mammoscope.errors import ConfigurationError
from mammoscope.model.artifact.folder import load_artifact
from mammoscope.settings.training import TrainConfig
from mammoscope.training.recipes import read_plan

ROOT = Path(__file__).resolve().parents[2]
PLAN = """
[base.small]
preset = "smoke"
batch_size = 16
validation_fraction = 0.34
head = "mean"
head_epochs = 0
epochs = 1
trainable_from = "none"

[[run]]
name = "first"
base = "small"

[[run]]
name = "broken"
base = "small"
trainable_from = "no such layer"

[[run]]
name = "whole"
base = "small"
crop = false
folds = 1
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    return path


def test_the_committed_recipes_are_valid_and_change_one_setting_per_run():
    weights = Path("elsewhere.weights.h5")
    runs = {run.name: run.config for run in read_plan(Path("recipes/experiments.toml"), weights)}
    baseline = runs["tuning-baseline"].model_dump()
    for name, config in runs.items():
        if name.startswith("tuning-") and name != "tuning-baseline":
            differing = {
                key for key, value in config.model_dump().items() if value != baseline[key]
            }
            assert len(differing) == 1, name
    assert runs["tuning-baseline"].weights == "elsewhere.weights.h5"
    scratch = [runs[f"backbone-{name}"] for name in ("inceptionv3", "resnet101v2", "xception")]
    assert {config.weights for config in scratch} == {"none"}
    assert len({config.model_copy(update={"backbone": "inceptionv3"}) for config in scratch}) == 1


@pytest.mark.parametrize(
    "text",
    [
        "[[run]",
        "",
        '[base.a]\n[[run]]\nbase = "a"',
        '[base.a]\n[[run]]\nname = "../x"\nbase = "a"',
        '[base.a]\npreset = "none"\n[[run]]\nname = "x"\nbase = "a"',
        '[base.a]\n[[run]]\nname = "x"\nbase = "a"\ndropp_rate = 1',
        '[base.a]\n[[run]]\nname = "x"\nbase = "a"\n[[run]]\nname = "x"\nbase = "a"',
        '[[run]]\nname = "x"\nbase = "a"',
        '[[run]]\nname = "x"\ndata = "elsewhere"',
        '[[run]]\nname = "x"\nweights = "run:y"\n[[run]]\nname = "y"',
        '[[run]]\nname = "x"\nteachers = ["x"]',
        '[[run]]\nname = "x"\nfolds = 6',
        '[[run]]\nname = "x"\nfolds = "5"',
    ],
)
def test_a_plan_with_a_mistake_is_refused(text: str, plan: Path):
    plan.write_text(text)
    with pytest.raises(ConfigurationError):
        read_plan(plan)


def test_a_run_with_folds_becomes_one_run_per_fold():
    planned = read_plan(RELEASED)[:5]
    assert [run.name for run in planned] == [f"folds-flips/fold-{k}" for k in range(1, 6)]
    assert [run.config.fold for run in planned] == [1, 2, 3, 4, 5]
    (same,) = {run.config.model_copy(update={"fold": None}) for run in planned}
    assert same == TrainConfig.from_preset("default", {"stop_after": 8})


@pytest.mark.training
def test_unfinished_runs_are_trained_and_a_failure_does_not_stop_the_others(
    plan: Path, phantom_dataset: Path, tmp_path: Path, capfd, small_network
):
    folds = tmp_path / "folds.csv"
    assert main(["dev", "folds", "--data", str(phantom_dataset), "--output", str(folds)]) == 0
    capfd.readouterr()
    folders = ("--runs", tmp_path / "runs", "--records", tmp_path / "records", "--folds", folds)
    command = ["dev", "trainings", plan, "--data", phantom_dataset, *folders]

    def trainings(*more: str) -> tuple[int, str, str]:
        status = main([str(part) for part in (*command, *more)])
        printed = capfd.readouterr()
        return status, printed.out, printed.err

    assert trainings("--only", "fir*")[0] == 0
    assert trainings("--list")[1].split()[1::2] == ["finished", "planned", "planned"]
    stamp = (tmp_path / "runs" / "first" / "history.json").stat().st_mtime_ns
    status, printed, errors = trainings()
    assert status == 1
    assert "no such layer" in errors
    assert "Failed: broken." in errors
    assert "first ..." not in printed
    assert (tmp_path / "runs" / "first" / "history.json").stat().st_mtime_ns == stamp
    names = {path.name for path in (tmp_path / "records").iterdir()}
    assert names == {"first", "whole"}
    network = json.loads((tmp_path / "records" / "first" / "network.json").read_text())
    assert network["multiply_adds"] > 1e5
    with (tmp_path / "records" / "whole" / "fold-1" / "split.csv").open() as stream:
        parts = {row["patient"]: row["part"] for row in csv.DictReader(stream)}
    assert set(parts.values()) == {"train", "validation", "test"}
    left_out = {patient for patient, part in parts.items() if part == "validation"}
    assert left_out == {patient for patient, fold in read_folds(folds).items() if fold == 1}
    assert trainings("--only", "other")[0] == 2


@pytest.mark.training
@pytest.mark.filterwarnings("ignore")  # Ray's own, and what it leaves to be collected
def test_runs_are_trained_on_a_ray_cluster(
    plan: Path, phantom_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
):
    import ray

    from mammoscope.bulk.cluster import on_ray

    plan.write_text(
        PLAN
        + """
[[run]]
name = "needy"
base = "small"
weights = "run:broken"
"""
    )
    monkeypatch.chdir(tmp_path)  # tasks run in other folders
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    words = [
        "dev", "trainings", "plan.toml", "--data", str(phantom_dataset), "--records", "records",
        "--only", "first", "broken", "needy",
    ]  # fmt: skip
    with on_ray(None):
        address = ray.get_runtime_context().gcs_address
        program = [sys.executable, "-m", "mammoscope", *words, "--address", address]
        ended = subprocess.run(program, check=False)
    printed = capfd.readouterr()
    assert ended.returncode == 1
    assert "first: the record is in" in printed.out
    assert "no such layer" in printed.err
    assert "needy: broken must be finished first." in printed.err
    assert "Failed: broken, needy." in printed.err
    assert {path.name for path in (tmp_path / "records").iterdir()} == {"first"}
    assert (tmp_path / "runs" / "first" / "card.json").is_file()
    assert main([*words, "--address", "127.0.0.1:1"]) == 2
    assert "No Ray cluster answers" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("nodes", "claim"),
    [
        ([{"CPU": 8.0}, {"CPU": 4.0}], (4, 0)),
        ([{"CPU": 8.0}, {"CPU": 32.0, "GPU": 4.0}], (8, 1)),
        ([{"memory": 1.0}, {"CPU": 2.0}], (2, 0)),
    ],
)
def test_a_run_claims_a_machine_or_a_gpu(nodes: list[dict], claim: tuple[int, int]):
    alive = [{"Alive": True, "Resources": node} for node in nodes]
    dead = {"Alive": False, "Resources": {"CPU": 1.0}}
    claimed = _claim([*alive, dead])
    assert (claimed["num_cpus"], claimed["num_gpus"]) == claim


RELEASED = Path("recipes/released.toml")


def test_the_recipe_of_the_released_model_agrees_with_its_records():
    planned = read_plan(RELEASED, Path("inception_v3_notop.weights.h5"))
    for run in planned:
        record = Path("model/experiments") / run.name / "config.json"
        recorded = TrainConfig.from_record(record.read_bytes()).described()
        assert run.config_in(Path("runs")).described() == recorded, run.name
        assert (run.data == "lesions") is (run.config.layout == "lesions")
    card = json.loads(Path("model/card.json").read_text())
    recorded = TrainConfig.from_record(json.dumps(card["training"]["config"]).encode())
    assert planned[-1].config_in(Path("runs")).described() == recorded.described()


def test_missing_data_folders_are_reported(phantom_dataset: Path, capsys):
    assert main(["dev", "trainings", str(RELEASED), "--data", str(phantom_dataset)]) == 2
    assert "lesions; give each folder with --data NAME=DIR" in capsys.readouterr().err


@pytest.mark.training
def test_the_released_model_is_rebuilt_at_phantom_size(
    films: Path, tmp_path: Path, capfd, small_network
):
    """Of the three runs by fold, only that with three channels teaches the student here."""
    from mammoscope.phantoms.drawing import write_phantom_dataset
    from tests.training.small_network import SMALL

    images, folds = tmp_path / "images", tmp_path / "folds.csv"
    write_phantom_dataset(images, patients=30, metadata=True)
    assert main(["dev", "folds", "--data", str(images), "--output", str(folds)]) == 0
    plan = tomllib.loads(RELEASED.read_text())
    small = {"input_size": [96, 96], "epochs": 1, "batch_size": 16, "precision": "float32"}
    names = ("channels-maps", "folds-channels", "student-channels", "student-copies",
             "student-width", "student-quantised")  # fmt: skip
    runs = [{**run, **small} for run in plan["run"] if run["name"] in names]
    for run in runs:
        run |= {key: ["folds-channels"] for key in ("teachers", "calibrated_on") if key in run}
    recipe = tmp_path / "released.toml"
    tables = [("[base.lesions]", plan["base"]["lesions"]), *(("[[run]]", run) for run in runs)]
    recipe.write_text(
        "\n".join(
            f"{title}\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items())
            for title, table in tables
        )
    )
    weights = tmp_path / "inception.weights.h5"
    SMALL.build(
        include_top=False, weights=None, input_shape=(96, 96, 3), name="backbone"
    ).save_weights(weights)
    command = [
        "dev", "trainings", recipe, "--data", images, "--data", f"lesions={films}",
        "--imagenet", weights, "--folds", folds,
        "--runs", tmp_path / "runs", "--records", tmp_path / "records",
    ]  # fmt: skip
    needy = [*command, "--only", "student-channels"]
    assert main([str(part) for part in needy]) == 1
    assert "channels-maps, folds-channels/fold-1, " in capfd.readouterr().err
    assert main([str(part) for part in command]) == 0
    assert {path.name for path in (tmp_path / "records").iterdir()} == set(names)
    capfd.readouterr()
    assert main([str(part) for part in (*command, "--list")]) == 0
    assert capfd.readouterr().out.split()[1::2] == ["finished"] * 10
    card = load_artifact(tmp_path / "runs" / names[-1]).require_card()
    assert card.metrics["validation"]["by_folds"] == "folds-channels"
    assert card.training["config"]["smoothing"] == 2
    assert card.quantisation is not None
    assert card.quantisation.comparison.source == "training"
