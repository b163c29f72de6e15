"""Each preset's resolved values: changing a default must not silently change a preset."""

import json
from pathlib import Path

import pytest

from mammoscope.settings.training import TrainConfig

RESOLVED = json.loads(Path(__file__).with_name("presets.json").read_text("utf-8"))


@pytest.mark.parametrize("preset", RESOLVED)
def test_a_preset_resolves_to_the_recorded_values(preset: str):
    assert TrainConfig.from_preset(preset, {}).model_dump(mode="json") == RESOLVED[preset]
