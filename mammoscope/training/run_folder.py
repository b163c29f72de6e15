"""The folder of a training run, and its checks at the start of a run; needs no Keras."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mammoscope.errors import RunError, StorageError
from mammoscope.model.artifact.folder import CARD_NAME
from mammoscope.settings.training import TrainConfig
from mammoscope.system.files import PARTIAL, json_text, locked, replacing

CONFIG_NAME: Final = "config.json"
HISTORY_NAME: Final = "history.json"
CHECKPOINT_NAME: Final = "checkpoint.npz"
LOCK_NAME: Final = ".lock"

_MAY_CHANGE: Final = "stop_after"
"""The only setting that may change when a run is resumed: no earlier epoch depends on it."""


@dataclass(frozen=True, slots=True)
class RunPaths:
    """Input and output paths of a run.

    Parameters
    ----------
    data
        Folder of mammograms.
    output
        Folder of the run, for everything that it computes.
    cache
        Folder for preprocessed images; several runs may share it.
    metadata
        Metadata table; None looks for one in `data`.
    folds
        Table of folds, for a configuration with a fold.
    lesions
        Folder of films with outlined lesions, for a configuration that trains on them in
        addition to the images in `data`.
    """

    data: Path
    output: Path
    cache: Path
    metadata: Path | None = None
    folds: Path | None = None
    lesions: Path | None = None


@contextmanager
def open_run(config: TrainConfig, output: Path, *, resume: bool) -> Iterator[bool]:
    """Create the run's folder, or check that it has this run; yields True if the run is complete.

    No other training can use the folder until the end. The lock ends with the process, so a
    training that was killed does not block the next one.

    Raises
    ------
    RunError, ConfigurationError, StorageError
        As in `check_run`, or if another training uses the folder, or if it cannot be created.
    """
    check_run(config, output, resume=resume)  # before writing to a folder that may not be a run's
    with ExitStack() as stack:
        try:
            output.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(output / LOCK_NAME, wait=False))
        except BlockingIOError as err:
            raise RunError(
                "Another training is running in the output folder; wait until it ends, or name "
                "another folder."
            ) from err
        except OSError as err:
            raise StorageError("The output folder cannot be created.") from err
        is_complete = check_run(config, output, resume=resume)
        if not is_complete:
            for left in output.glob(f".*{PARTIAL}"):  # of a training that was killed
                left.unlink(missing_ok=True)
            write_json(output / CONFIG_NAME, config.to_record())
        yield is_complete


def check_run(config: TrainConfig, output: Path, *, resume: bool) -> bool:
    """Check that a folder is new or has this run; True if the run is complete.

    A run without a completed epoch may be started over, even with another configuration: if its
    initial weights were unavailable, there is nothing to continue.

    Raises
    ------
    RunError
        If the folder has other content or another run, or if it has this run and `resume` is False.
    ConfigurationError
        If the run used a removed feature.
    StorageError
        If the folder cannot be listed.
    """
    stored_path = output / CONFIG_NAME
    try:
        if not stored_path.exists():
            # The lock, what a killed training left, and what systems put into folders are hidden.
            if output.is_dir() and not all(each.name.startswith(".") for each in output.iterdir()):
                raise RunError("The output folder is not empty and has no run.")
            return False
    except OSError as err:
        raise StorageError("The output folder cannot be listed.") from err
    if not has_epochs(output):
        return False
    if not resume:
        raise RunError("The output folder has a run; continue it with --resume.")
    try:
        stored = TrainConfig.from_record(stored_path.read_bytes()).model_dump(mode="json")
    except OSError as err:
        raise RunError("The run's configuration cannot be read.") from err
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


def has_epochs(output: Path) -> bool:
    """Whether a run in the folder has completed an epoch."""
    return any((output / name).exists() for name in (CARD_NAME, HISTORY_NAME, CHECKPOINT_NAME))


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically; raises `StorageError`."""
    write_text(path, json_text(content))


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8 atomically; raises `StorageError`."""
    try:
        with replacing(path) as target:
            target.write_text(text, encoding="utf-8", errors="surrogateescape")
    except OSError as err:
        raise StorageError("A result of the run cannot be written.") from err
