import json
from pathlib import Path

import pytest

from mammoscope.errors import ConfigurationError
from mammoscope.settings.service import ServiceSettings, cache_folder
from mammoscope.settings.training import PRESETS, TrainConfig


def test_settings_come_from_the_environment():
    settings = ServiceSettings.from_environment(
        {"MAMMOSCOPE_OPERATING_POINT": "high_specificity", "MAMMOSCOPE_THREADS": "3", "HOME": "/"}
    )
    assert settings.operating_point == "high_specificity"
    assert settings.threads == 3
    assert settings.performance_mode == "throughput"
    quick = ServiceSettings.from_environment({"MAMMOSCOPE_PERFORMANCE_MODE": "latency"})
    assert quick.performance_mode == "latency"


def test_hosts_are_a_list():
    given = {"MAMMOSCOPE_FETCH_HOSTS": "images.example, *.hospital.example"}
    hosts = ServiceSettings.from_environment(given).fetch_hosts
    assert hosts == ("images.example", "*.hospital.example")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAMMOSCOPE_FETCH_HOSTS", ""),
        ("MAMMOSCOPE_FETCH_HOSTS", "*"),
        ("MAMMOSCOPE_FETCH_HOSTS", "https://images.example/"),
        ("MAMMOSCOPE_FETCH_HOSTS", "a.example,,b.example"),
        ("MAMMOSCOPE_TREADS", "3"),
        ("MAMMOSCOPE_THREADS", "-1"),
        ("MAMMOSCOPE_THREADS", "many"),
        ("MAMMOSCOPE_PERFORMANCE_MODE", "fast"),
        ("MAMMOSCOPE_BIND", ""),
        ("MAMMOSCOPE_BIND", "9798"),
        ("MAMMOSCOPE_BIND", "http://127.0.0.1:9798"),
        ("MAMMOSCOPE_BIND", "::1:9798"),
        ("MAMMOSCOPE_METRICS_BIND", "127.0.0.1:70000"),
        ("MAMMOSCOPE_PROBE_BIND", ":9698"),
    ],
)
def test_unknown_names_and_values_are_refused(name, value):
    with pytest.raises(ConfigurationError, match=name):
        ServiceSettings.from_environment({name: value})


@pytest.mark.parametrize("bind", ["localhost:9797", "0.0.0.0:9797", "[::1]:9797"])
def test_addresses_are_host_and_port(bind):
    assert ServiceSettings.from_environment({"MAMMOSCOPE_BIND": bind}).bind == bind
    assert ServiceSettings.from_environment({"MAMMOSCOPE_PROBE_BIND": ""}).probe_bind == ""


def test_a_deprecated_name_still_works():
    old, new = "MAMMOSCOPE_MAX_STUDY_PICTURES", "MAMMOSCOPE_MAX_STUDY_IMAGES"
    with pytest.warns(FutureWarning, match=f"{old} is deprecated; use {new}"):
        assert ServiceSettings.from_environment({old: "3"}).max_study_images == 3
    with pytest.warns(FutureWarning):
        assert ServiceSettings.from_environment({old: "3", new: "5"}).max_study_images == 5


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"MAMMOSCOPE_CACHE": "/c", "XDG_CACHE_HOME": "/x"}, Path("/c")),
        ({"MAMMOSCOPE_CACHE": "", "XDG_CACHE_HOME": "/x"}, Path("/x/mammoscope")),
        ({"XDG_CACHE_HOME": "relative"}, Path.home() / ".cache/mammoscope"),
        ({}, Path.home() / ".cache/mammoscope"),
    ],
)
def test_the_cache_defaults_to_the_users(environment, expected):
    assert cache_folder(environment) == expected


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        ServiceSettings().threads = 2


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_configuration(preset):
    config = TrainConfig.from_preset(preset, {})
    assert config.epochs + config.head_epochs >= 1


def test_the_reference_preset_equals_the_reference_projects_recipe():
    config = TrainConfig.from_preset("reference", {})
    assert config.backbone == "inceptionv3"
    assert config.input_size == (299, 299)
    assert (config.epochs, config.batch_size) == (10, 32)
    assert (config.drop_rate, config.learning_rate) == (0.5, 1e-5)
    assert config.head == "mean"


def test_a_configuration_survives_json():
    config = TrainConfig.from_preset("default", {"seed": 7})
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("change", [{"epoch": 3}, {"epochs": -1}, {"input_size": (20, 20)}])
def test_a_configuration_refuses_unknown_keys(change):
    with pytest.raises(ConfigurationError, match=next(iter(change))):
        TrainConfig.from_preset("default", change)


def test_a_run_without_training_is_refused():
    with pytest.raises(ConfigurationError, match="nothing would be trained"):
        TrainConfig.from_preset("default", {"epochs": 0})


RECORD = {**TrainConfig().model_dump(mode="json"), "seed": 3}


def test_an_earlier_record_is_read_if_the_run_is_still_supported():
    earlier = {"auxiliary": False, "folds": 5, "head_learns": True, "head_start": "auto"}
    config = TrainConfig.from_record(json.dumps({**RECORD, **earlier}).encode())
    assert config == TrainConfig(seed=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": "depths"}, "head depths"),
        ({"head": "mean_max", "auxiliary": True}, "head mean_max, auxiliary True"),
        ({"augmentation": "strong"}, "augmentation strong"),
        ({"head_learns": False}, "head_learns False"),
        ({"head_start": "regression"}, "head_start regression"),
        ({"colour": "red"}, "colour"),
        ({"head": 5}, "head"),
    ],
)
def test_a_record_with_removed_features_is_refused(change, message):
    with pytest.raises(ConfigurationError, match=message):
        TrainConfig.from_record(json.dumps({**RECORD, **change}).encode())


def test_a_record_has_a_schema():
    config = TrainConfig(seed=3)
    assert config.to_record() == {"schema": 2, **config.model_dump(mode="json")}
    assert TrainConfig.from_record(json.dumps(config.to_record()).encode()) == config


def test_a_record_of_a_newer_version_is_refused():
    message = "This run's configuration has schema 3; this version of Mammoscope reads up to 2"
    with pytest.raises(ConfigurationError, match=message):
        TrainConfig.from_record(json.dumps({**RECORD, "schema": 3, "added": 1}).encode())


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff"])
def test_a_damaged_record_is_refused(content):
    with pytest.raises(ConfigurationError, match="configuration is not"):
        TrainConfig.from_record(content)
