"""Planned trainings: the list, and the queue on phantoms."""

import csv
import json
from pathlib import Path

import pytest

from mammoscope.__main__ import main
from mammoscope.errors import ConfigurationError
from mammoscope.training.recipes import read_plan

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
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    return path


def test_the_projects_own_plan_is_allowed_and_compares_one_change_at_a_time():
    weights = Path("elsewhere.weights.h5")
    runs = {run.name: run.config for run in read_plan(Path("model/experiments/plan.toml"), weights)}
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
        '[base.a]\n[[run]]\nname = "x"',
        '[base.a]\n[[run]]\nname = "../x"\nbase = "a"',
        '[base.a]\npreset = "none"\n[[run]]\nname = "x"\nbase = "a"',
        '[base.a]\n[[run]]\nname = "x"\nbase = "a"\ndropp_rate = 1',
        '[base.a]\n[[run]]\nname = "x"\nbase = "a"\n[[run]]\nname = "x"\nbase = "a"',
    ],
)
def test_a_plan_with_a_mistake_is_refused(text: str, plan: Path):
    plan.write_text(text)
    with pytest.raises(ConfigurationError):
        read_plan(plan)


@pytest.mark.training
def test_the_queue_trains_what_is_left_and_goes_on_after_a_failure(
    plan: Path, phantom_dataset: Path, tmp_path: Path, capfd
):
    folders = ("--runs", tmp_path / "runs", "--records", tmp_path / "records")
    command = ["trainings", plan, "--data", phantom_dataset, *folders]

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
    assert network["multiply_adds"] > 1e8
    with (tmp_path / "records" / "whole" / "split.csv").open() as stream:
        assert {row["part"] for row in csv.DictReader(stream)} == {"train", "validation", "test"}
    assert trainings("--only", "other")[0] == 1
