"""Recipes: TOML files that list trainings, read into one configuration per run.

``[base.NAME]`` has a preset and the changes shared by several runs. Each ``[[run]]`` has a
``name``, a ``base`` or a ``preset``, and its own changes. Five keys of a run set its sources and
its folds:

``data``
    Folder of images to train on: ``folders`` (the default) or ``lesions``.
``weights``
    Initial weights as in `TrainConfig`, or ``run:NAME`` for the network of an earlier run. In a run
    with folds, ``{fold}`` in the name is the number of the fold.
``teachers``
    Names of earlier runs to distil from; with ``calibrated_on``, of runs with folds.
``calibrated_on``
    Names of earlier runs with folds; see `TrainConfig`.
``folds``
    Number of folds to train, each as a separate run: ``NAME/fold-1`` and so on.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from mammoscope.data.fold_table import FOLDS
from mammoscope.errors import ConfigurationError
from mammoscope.model.artifact.folder import NETWORK_NAME
from mammoscope.settings.training import PresetName, TrainConfig

DataName = Literal["folders", "lesions"]

_IMAGENET: Final = "imagenet"
_RUN: Final = "run:"


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A training with the name of its folder, its data and its configuration.

    ``config`` names other runs as the recipe does; see `config_in`.
    """

    name: str
    config: TrainConfig
    data: DataName = "folders"

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the runs whose networks or predictions this run uses."""
        config = self.config
        first = (config.weights.removeprefix(_RUN),) if config.weights.startswith(_RUN) else ()
        if not config.calibrated_on:
            return (*first, *config.teachers)
        by_fold = dict.fromkeys((*config.teachers, *config.calibrated_on))
        return (*first, *(f"{run}/fold-{fold}" for run in by_fold for fold in range(1, FOLDS + 1)))

    @property
    def folders(self) -> set[DataName]:
        """Names of all folders of the run."""
        return {self.data, "lesions"} if self.config.lesion_share else {self.data}

    def config_in(self, runs: Path) -> TrainConfig:
        """Return the configuration with the paths of other runs, whose folders are in `runs`."""
        changes: dict[str, Any] = {
            name: tuple(str(runs / run) for run in getattr(self.config, name))
            for name in ("teachers", "calibrated_on")
        }
        if self.config.weights.startswith(_RUN):
            changes["weights"] = str(runs / self.config.weights.removeprefix(_RUN) / NETWORK_NAME)
        return self.config.model_copy(update=changes)


def read_plan(path: Path, imagenet: Path | None = None) -> tuple[PlannedRun, ...]:
    """Read a recipe file; runs are in its order.

    Parameters
    ----------
    path
        The recipe file in TOML, as described above.
    imagenet
        Weights file for runs with the weights ``imagenet``, if these cannot be downloaded.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, two runs have the same name, a run needs one that is not listed
        before it, or a configuration is invalid.
    """
    try:
        plan = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise ConfigurationError("The recipe file is missing or is not TOML in UTF-8.") from err
    bases, runs = plan.get("base", {}), plan.get("run", [])
    planned = tuple(each for run in runs for each in _planned(run, bases, imagenet))
    if not planned:
        raise ConfigurationError("The recipe file has no runs.")
    before: set[str] = set()
    for run in planned:
        if run.name in before:
            raise ConfigurationError(f"The recipe file has two runs named {run.name}.")
        if missing := [name for name in run.needs if name not in before]:
            raise ConfigurationError(
                f"Run {run.name} needs {', '.join(missing)}; list a run before the runs that "
                "need it."
            )
        before.add(run.name)
    return planned


def _planned(
    run: Mapping[str, Any], bases: Mapping[str, Mapping[str, Any]], imagenet: Path | None
) -> Iterator[PlannedRun]:
    settings = dict(run)
    name, base = settings.pop("name", None), settings.pop("base", None)
    if not isinstance(name, str) or Path(name).name != name:
        raise ConfigurationError("Each run needs a name that is valid as a folder name.")
    if base is not None:
        if not isinstance(base, str) or base not in bases:
            raise ConfigurationError(f"Run {name} names a base that is not in the file.")
        settings = {**bases[base], **settings}
    preset = settings.pop("preset", "default")
    if preset not in get_args(PresetName):
        raise ConfigurationError(
            f"The preset of run {name} must be one of {', '.join(get_args(PresetName))}."
        )
    data = settings.pop("data", "folders")
    if data not in get_args(DataName):
        raise ConfigurationError(
            f"The data of run {name} must be one of {', '.join(get_args(DataName))}."
        )
    if imagenet is not None and settings.get("weights", _IMAGENET) == _IMAGENET:
        settings["weights"] = str(imagenet)
    folds = settings.pop("folds", None)
    if folds is None:
        yield PlannedRun(name, TrainConfig.from_preset(preset, settings), data)
        return
    if folds not in range(1, FOLDS + 1):
        raise ConfigurationError(f"The folds of run {name} must be from 1 to {FOLDS}.")
    for fold in range(1, folds + 1):
        config = TrainConfig.from_preset(preset, {**_in_fold(settings, fold), "fold": fold})
        yield PlannedRun(f"{name}/fold-{fold}", config, data)


def _in_fold(settings: Mapping[str, Any], fold: int) -> dict[str, Any]:
    if "weights" not in settings:
        return dict(settings)
    return {**settings, "weights": str(settings["weights"]).replace("{fold}", str(fold))}
