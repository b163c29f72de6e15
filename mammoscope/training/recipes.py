"""A list of planned trainings: TOML to one configuration a run.

``[base.NAME]`` holds a preset and what a family of runs changes in it; each ``[[run]]`` has a
``name``, a ``base``, and what it changes in turn.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from mammoscope.errors import ConfigurationError
from mammoscope.settings import PresetName, TrainConfig

_IMAGENET: Final = "imagenet"


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A training by the name of its folder and its resolved configuration."""

    name: str
    config: TrainConfig


def read_plan(path: Path, imagenet: Path | None = None) -> tuple[PlannedRun, ...]:
    """Read a list of trainings, in its order.

    Parameters
    ----------
    path
        TOML, as above.
    imagenet
        File of weights for runs that ask for ``imagenet``, where they cannot be downloaded.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, a run lacks name or base, two have one name, or a
        configuration is not allowed.
    """
    try:
        plan = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise ConfigurationError("The plan is missing or is not TOML in UTF-8.") from err
    bases, runs = plan.get("base", {}), plan.get("run", [])
    planned = tuple(_planned(run, bases, imagenet) for run in runs)
    names = {run.name for run in planned}
    if not planned or len(names) < len(planned):
        raise ConfigurationError("The plan needs runs, each with a name of its own.")
    return planned


def _planned(
    run: Mapping[str, Any], bases: Mapping[str, Mapping[str, Any]], imagenet: Path | None
) -> PlannedRun:
    name, base = run.get("name"), run.get("base")
    named = isinstance(name, str) and Path(name).name == name
    if not named or not isinstance(base, str) or base not in bases:
        raise ConfigurationError("Each run of the plan needs a plain name and a base of the plan.")
    settings = {**bases[base], **{k: v for k, v in run.items() if k not in ("name", "base")}}
    preset = settings.pop("preset", "default")
    if preset not in get_args(PresetName):
        raise ConfigurationError(f"A preset of the plan is none of {get_args(PresetName)}.")
    if imagenet is not None and settings.get("weights", _IMAGENET) == _IMAGENET:
        settings["weights"] = str(imagenet)
    return PlannedRun(str(name), TrainConfig.from_preset(preset, settings))
