"""A training run: from a folder of mammograms to a model folder, resumable."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import keras
import numpy as np
import numpy.typing as npt

from mammoscope.data.dataset import Example, require_both_classes
from mammoscope.data.split_table import write_split
from mammoscope.errors import RunError, StorageError
from mammoscope.model.artifact.folder import CARD_NAME, NETWORK_NAME
from mammoscope.model.complexity import complexity
from mammoscope.model.networks import build_network, export_network, load_weights
from mammoscope.settings.training import TrainConfig
from mammoscope.training.batches import Batches, PreprocessedExamples, preprocess_examples
from mammoscope.training.division import DividedData, divide, read_examples, sentences
from mammoscope.training.loop import Loop, predict
from mammoscope.training.packing import save_network
from mammoscope.training.run_outputs import (
    CONFIG_NAME,
    environment,
    precision,
    renew_card,
    write_json,
    write_results,
    write_text,
)
from mammoscope.training.teachers import teacher_answers
from mammoscope.training.validation import History

HISTORY_NAME: Final = "history.json"
_MAY_CHANGE: Final = "stop_after"
"""The one setting that may differ when a run is resumed: nothing before the stop depends on it."""

_CHECKPOINT_NAME: Final = "checkpoint.npz"


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
    """

    data: Path
    output: Path
    cache: Path
    metadata: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Trained:
    """A network as it is saved, and its logits of patients that it did not learn from."""

    network: keras.Model
    validation: PreprocessedExamples
    logits: npt.NDArray[np.float32]
    history: History
    refused: dict[str, int]


def train(
    config: TrainConfig, paths: RunPaths, say: Callable[[str], None], *, resume: bool = False
) -> None:
    """Train a network and leave a model folder in ``paths.output``.

    The folder gets config.json, environment.json, split.csv, history.json, summary.txt,
    network.json, validation_scores.csv, figures/, model.keras and card.json. A run that was
    killed continues after its last whole epoch. The card of a complete run gets its breasts and
    patients fitted anew.

    Parameters
    ----------
    config, paths
        What to do, and where.
    say
        Gets what a person should know about data and result, one sentence per call. Sentences
        about the data come before the hours of work.
    resume
        Whether to continue the run in ``paths.output``.

    Raises
    ------
    DatasetError
        If the images cannot be used.
    RunError
        If the folder holds another run, or this one and `resume` is False.
    ArtifactError
        If the run is complete, and its model, card and scores do not belong together.
    ConfigurationError
        If the run used what this version no longer has, or its weights cannot be had.
    StorageError
        If a result cannot be written.
    """
    dataset = read_examples(config, paths.data, paths.metadata)
    if _open_run(config, paths.output, resume=resume):
        renew_card(paths.output)
        say("The run is complete; its card was written anew from its validation scores.")
        return
    divided = divide(dataset, config)
    for sentence in sentences(divided.facts):
        say(sentence)
    write_json(paths.output / "environment.json", environment(config))

    keras.utils.set_random_seed(config.seed)
    trained = _train(config, divided, paths)
    write_json(paths.output / HISTORY_NAME, trained.history)
    write_text(paths.output / "summary.txt", _summary(trained.network))
    write_json(paths.output / "network.json", complexity(trained.network))
    facts = {
        "config": config.described(),
        "data": {**divided.facts, "refused": trained.refused},
        "environment": environment(config),
    }
    write_results(paths.output, trained.validation, trained.logits, facts, config)
    (paths.output / _CHECKPOINT_NAME).unlink(missing_ok=True)
    last = trained.history[-1]["validation"]
    say(f"Validation: AUC {last['auc']:.3f} by image, {last['breast_auc']:.3f} by breast.")


def _train(config: TrainConfig, divided: DividedData, paths: RunPaths) -> _Trained:
    """Train on some patients, validate on others."""
    split = divided.split
    write_split(
        paths.output,
        {"train": split.train, "validation": split.validation, "test": split.test},
    )
    learned = _preprocess(split.train, config, paths, "train")
    validation = _preprocess(split.validation, config, paths, "validation")
    network = _network(config)
    answers = (
        teacher_answers(learned, (*split.validation, *split.test), config, _network)
        if config.teachers
        else None
    )
    batches = Batches(learned, config, answers)
    loop = Loop(network, config, batches, validation, paths.output / _CHECKPOINT_NAME)
    history = loop.run(lambda done: write_json(paths.output / HISTORY_NAME, done))
    exported = export_network(network, config)
    save_network(exported, paths.output / NETWORK_NAME)
    # Measured on what was saved: rounded weights, float32.
    logits = predict(exported, validation.pixels)
    refused = {
        code: learned.refused.get(code, 0) + validation.refused.get(code, 0)
        for code in sorted({*learned.refused, *validation.refused})
    }
    return _Trained(exported, validation, logits, history, refused)


def _preprocess(
    examples: tuple[Example, ...], config: TrainConfig, paths: RunPaths, name: str
) -> PreprocessedExamples:
    preprocessed = preprocess_examples(
        examples, config.input_size, paths.cache, f"preprocess {name}", crop=config.crop
    )
    require_both_classes(preprocessed.examples, name)
    return preprocessed


def _network(config: TrainConfig) -> keras.Model:
    """The network in the run's precision, with its first weights."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision(config))
    try:
        network = build_network(config)
    finally:
        keras.config.set_dtype_policy(policy)
    load_weights(network, config)
    return network


def _open_run(config: TrainConfig, output: Path, *, resume: bool) -> bool:
    """Make the run's folder, or check that it holds this run; True if the run is complete."""
    resolved = config.model_dump(mode="json")
    stored_path = output / CONFIG_NAME
    if not stored_path.exists():
        if output.is_dir() and any(output.iterdir()):
            raise RunError("The output folder is not empty and holds no run.")
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise StorageError("The output folder cannot be made.") from err
        write_json(stored_path, config.to_record())
        return False
    if not resume:
        raise RunError("The output folder holds a run; continue it with --resume.")
    try:
        stored = TrainConfig.from_record(stored_path.read_bytes()).model_dump(mode="json")
    except OSError as err:
        raise RunError("The configuration of the run cannot be read.") from err
    differing = sorted(
        key for key in resolved if key != _MAY_CHANGE and stored[key] != resolved[key]
    )
    if differing:
        raise RunError(
            f"The run in the output folder was started with other values of {', '.join(differing)}."
        )
    if (output / CARD_NAME).exists():
        return True
    write_json(stored_path, config.to_record())
    return False


def _summary(network: keras.Model) -> str:
    lines: list[str] = []
    network.summary(print_fn=lines.append, line_length=100)
    lines += ["", "Backbone:"]
    network.get_layer("backbone").summary(print_fn=lines.append, line_length=100)
    return "\n".join(lines) + "\n"
