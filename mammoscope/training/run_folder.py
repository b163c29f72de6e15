"""The folder of a training run: what may be in it when a run begins. It needs no Keras."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mammoscope.errors import RunError, StorageError
from mammoscope.model.artifact.folder import CARD_NAME
from mammoscope.settings.training import TrainConfig
from mammoscope.system.files import json_text, replacing

CONFIG_NAME: Final = "config.json"
HISTORY_NAME: Final = "history.json"
CHECKPOINT_NAME: Final = "checkpoint.npz"

_MAY_CHANGE: Final = "stop_after"
"""The one setting that may differ when a run is resumed: nothing before the stop depends on it."""


@dataclass(frozen=True, slots=True)
class RunPaths:
    """Where a run reads and writes.

    Parameters
    ----------
    data
        Folder of mammograms.
    output
        Folder of the run; it gets everything that the run computes.
    cache
        Folder for preprocessed images, which runs may share.
    metadata
        Table of metadata; None looks for one in `data`.
    folds
        Table of folds, for a configuration with a fold.
    lesions
        Folder of films with outlined lesions, for a configuration that learns from them beside
        the images in `data`.
    """

    data: Path
    output: Path
    cache: Path
    metadata: Path | None = None
    folds: Path | None = None
    lesions: Path | None = None


def open_run(config: TrainConfig, output: Path, *, resume: bool) -> bool:
    """Make the run's folder, or check that it holds this run; True if the run is complete.

    Raises
    ------
    RunError, ConfigurationError, StorageError
        As `check_run` does, or if the folder cannot be made.
    """
    if check_run(config, output, resume=resume):
        return True
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise StorageError("The output folder cannot be made.") from err
    write_json(output / CONFIG_NAME, config.to_record())
    return False


def check_run(config: TrainConfig, output: Path, *, resume: bool) -> bool:
    """Check that a folder is new or holds this run; True if the run is complete.

    A run that has no whole epoch yet may be started over, also with another configuration: where
    the first weights could not be had, there is nothing to continue.

    Raises
    ------
    RunError
        If the folder holds something else, another run, or this one and `resume` is False.
    ConfigurationError
        If the run used what this version no longer has.
    StorageError
        If the folder cannot be listed.
    """
    stored_path = output / CONFIG_NAME
    try:
        if not stored_path.exists():
            if output.is_dir() and any(output.iterdir()):
                raise RunError("The output folder is not empty and holds no run.")
            return False
    except OSError as err:
        raise StorageError("The output folder cannot be listed.") from err
    begun = (CARD_NAME, HISTORY_NAME, CHECKPOINT_NAME)
    if not any((output / name).exists() for name in begun):
        return False
    if not resume:
        raise RunError("The output folder holds a run; continue it with --resume.")
    try:
        stored = TrainConfig.from_record(stored_path.read_bytes()).model_dump(mode="json")
    except OSError as err:
        raise RunError("The configuration of the run cannot be read.") from err
    differing = sorted(
        key
        for key, value in config.model_dump(mode="json").items()
        if key != _MAY_CHANGE and stored[key] != value
    )
    if differing:
        raise RunError(
            f"The run in the output folder was started with other values of {', '.join(differing)}."
        )
    return (output / CARD_NAME).exists()


def write_json(path: Path, content: object) -> None:
    """Write JSON, whole or not at all; raises `StorageError`."""
    write_text(path, json_text(content))


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8, whole or not at all; raises `StorageError`."""
    try:
        with replacing(path) as target:
            target.write_text(text, encoding="utf-8", errors="surrogateescape")
    except OSError as err:
        raise StorageError("A result of the run cannot be stored.") from err
