"""A training run: from a folder of mammograms to a model folder, resumable."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from mammoscope.data.dataset import (
    Dataset,
    Example,
    describe_ignored,
    require_both_classes,
    require_both_kinds_of_patients,
)
from mammoscope.data.fold_table import read_folds
from mammoscope.data.lesions import read_films
from mammoscope.data.split_table import write_split
from mammoscope.errors import ConfigurationError
from mammoscope.export.score_comparison import LogitPairs, Source, exceeded
from mammoscope.model.artifact.folder import NETWORK_NAME
from mammoscope.model.complexity import complexity
from mammoscope.model.networks import build_network, export_network, load_weights
from mammoscope.settings.training import TrainConfig
from mammoscope.system.progress import phase
from mammoscope.training.batches import Batches, PreprocessedExamples, preprocess_examples
from mammoscope.training.division import DividedData, divide, read_examples, sentences
from mammoscope.training.fold_logits import fold_answers, fold_logits
from mammoscope.training.lesions import LesionBatches, PreprocessedFilms, preprocess_films
from mammoscope.training.loop import Loop, predict
from mammoscope.training.packing import save_network
from mammoscope.training.processes import ALONE, Place
from mammoscope.training.quantisation import fit_ranges, plain, quantise, ranges_of
from mammoscope.training.run_folder import (
    CHECKPOINT_NAME,
    HISTORY_NAME,
    RunPaths,
    check_run,
    open_run,
    write_json,
    write_text,
)
from mammoscope.training.run_outputs import (
    Answers,
    Quantised,
    environment,
    precision,
    renew_card,
    write_results,
)
from mammoscope.training.teachers import teacher_answers
from mammoscope.training.validation import History, measure

_RANGE_IMAGES: Final = 16
"""Training images from which the ranges of a quantised network start."""

_DIFFERENT_OPTIONS: Final = (
    "The processes were started with different options; give all of them the same."
)
_DIFFERENT_INPUTS: Final = (
    "The processes have different images or checkpoints; give all of them the same data and the "
    "same output folder, on storage that they share."
)


@dataclass(frozen=True, slots=True, eq=False)
class _Trained:
    """A trained network, its training images, and images of patients it was not trained on.

    ``exact`` is the exact network of a quantised one. ``fold_logits`` are for the training
    images, if the network is measured with a run's folds.
    """

    network: keras.Model
    exact: keras.Model | None
    learned: PreprocessedExamples
    fold_logits: npt.NDArray[np.float32] | None
    validation: PreprocessedExamples
    history: History
    refused: dict[str, int]


def train(
    config: TrainConfig,
    paths: RunPaths,
    say: Callable[[str], None],
    *,
    resume: bool = False,
    place: Place | None = None,
) -> None:
    """Train a network and write a model folder to ``paths.output``.

    The folder gets config.json, environment.json, split.csv, history.json, summary.txt,
    network.json, validation_scores.csv, figures/, model.keras and card.json. A run that was killed
    continues after its last completed epoch. For a complete run, only the breast and patient levels
    of the card are fitted again.

    Parameters
    ----------
    config, paths
        Configuration and paths of the run.
    say
        Called with each sentence about data and result. Sentences about the data come before the
        hours of training.
    resume
        Whether to resume the run in ``paths.output``.
    place
        The process among several that train together, on JAX; all see the same folders, and the
        first one writes. None trains in this process alone.

    Raises
    ------
    DatasetError
        If the images cannot be used.
    RunError
        If the folder has another run, or this one and `resume` is False, or another training uses
        it. A run without a completed epoch may be started over.
    ArtifactError
        If the run is complete, but its model, card and scores do not belong together.
    ConfigurationError
        If the run used a removed feature, or its weights are unavailable.
    StorageError
        If a result cannot be written.
    """
    dataset = read_examples(config, paths.data, paths.metadata)
    if place is not None and not place.leads:
        if not check_run(config, paths.output, resume=resume):
            _follow(config, _divided(config, dataset, paths), paths, place)
        return
    for sentence in describe_ignored(dataset.ignored):
        say(sentence)
    with open_run(config, paths.output, resume=resume) as is_complete:
        if is_complete:
            renew_card(paths.output)
            say("The run is complete; its card was rewritten from its validation scores.")
        else:
            _train_and_record(config, _divided(config, dataset, paths), paths, say, place)


def _divided(config: TrainConfig, dataset: Dataset, paths: RunPaths) -> DividedData:
    return divide(dataset, config, read_folds(paths.folds) if paths.folds else None)


def _follow(config: TrainConfig, divided: DividedData, paths: RunPaths, place: Place) -> None:
    """Train with the process that leads, and write nothing."""
    loop, _ = _loop(config, divided, paths, place)
    loop.run(lambda _: None)
    _distribution().leave()


def _train_and_record(
    config: TrainConfig,
    divided: DividedData,
    paths: RunPaths,
    say: Callable[[str], None],
    place: Place | None,
) -> None:
    """Train, and write the results."""
    for sentence in sentences(divided.facts):
        say(sentence)
    write_json(paths.output / "environment.json", environment(config))
    trained = _train(config, divided, paths, say, place)
    with tqdm(total=3, desc="save and measure", unit="step", disable=None, leave=False) as bar:
        if trained.exact is None:
            network = export_network(trained.network, config)
        else:
            network = plain(trained.network)
        save_network(network, paths.output / NETWORK_NAME)
        write_json(paths.output / HISTORY_NAME, trained.history)
        write_text(paths.output / "summary.txt", _summary(network))
        write_json(paths.output / "network.json", complexity(network))
        bar.update()
        images, answers = _answers(network, trained)
        bar.update()
        facts = {
            "config": config.described(),
            "data": {**divided.facts, "refused": trained.refused},
            "environment": environment(config),
        }
        card = write_results(paths.output, images, answers, facts, config)
        bar.update()
    (paths.output / CHECKPOINT_NAME).unlink(missing_ok=True)
    last = measure(images, answers.logits)
    say(f"Validation: AUC {last['auc']:.3f} by image, {last['breast_auc']:.3f} by breast.")
    if card.quantisation is not None:
        failed = "; ".join(exceeded(card.quantisation.comparison))
        say(
            f"In 8 bits, scores differ too much from the exact network's: {failed}."
            if failed
            else "In 8 bits, scores stay close to the exact network's."
        )


def _answers(network: keras.Model, trained: _Trained) -> tuple[PreprocessedExamples, Answers]:
    """Return images, and logits of networks that were not trained on their patients.

    They are measured on the saved network: rounded weights, float32.
    """
    logits = trained.fold_logits
    images = trained.validation if logits is None else trained.learned
    quantised = None
    if trained.exact is not None:
        ranges = ranges_of(trained.network)
        exact = predict(trained.exact, images.pixels, "exact network")
        rounded = predict(quantise(network, ranges), images.pixels, "8 bits")
        labels = np.array([each.label for each in images.examples])
        source: Source = "validation" if logits is None else "training"
        quantised = Quantised(ranges, LogitPairs(source, labels, exact, rounded))
        logits = rounded if logits is None else logits
    if logits is None:
        logits = predict(network, images.pixels, "validation")
    return images, Answers(logits, quantised)


def _train(
    config: TrainConfig,
    divided: DividedData,
    paths: RunPaths,
    say: Callable[[str], None],
    place: Place | None,
) -> _Trained:
    """Train on some patients, validate on others."""
    split = divided.split
    write_split(
        paths.output,
        {"train": split.train, "validation": split.validation, "test": split.test},
    )
    loop, learned = _loop(config, divided, paths, place)
    by_folds = fold_logits(learned, config) if config.calibrated_on else None

    def after_epoch(done: History) -> None:
        write_json(paths.output / HISTORY_NAME, done)
        if not sys.stderr.isatty():  # the loop then shows no bar
            say(_epoch_line(done[-1], config))

    history = loop.run(after_epoch)
    if place is not None:
        _distribution().leave()
    validation = loop.validation
    refused = {
        code: learned.refused.get(code, 0) + validation.refused.get(code, 0)
        for code in sorted({*learned.refused, *validation.refused})
    }
    exact = loop.teacher if config.quantised else None
    return _Trained(loop.network, exact, learned, by_folds, validation, history, refused)


def _loop(
    config: TrainConfig, divided: DividedData, paths: RunPaths, place: Place | None
) -> tuple[Loop, PreprocessedExamples]:
    """Make the loop; return it with the training images."""
    split = divided.split
    devices = 1
    if place is not None and not place.leads:
        devices = _distribution().join(place, config.batch_size)
    learned = _preprocess(split.train, config, paths, "train")
    validation = _preprocess(split.validation, config, paths, "validation")
    if measured := (learned if config.calibrated_on else validation).examples:
        require_both_kinds_of_patients(measured, "validation")
    checkpoint = paths.output / CHECKPOINT_NAME
    if place is not None:
        if place.leads:  # last, when the others can load the preprocessed images
            devices = _distribution().join(place, config.batch_size)
        size = checkpoint.stat().st_size if checkpoint.is_file() else 0
        _distribution().require_same(_DIFFERENT_OPTIONS, config.described())
        _distribution().require_same(_DIFFERENT_INPUTS, learned.pixels, validation.pixels, size)
    keras.utils.set_random_seed(config.seed)
    teacher = _network(config) if config.imitates else None
    if teacher is None or not config.quantised:
        network = _network(config)
    else:
        network = quantise(teacher)
        some = learned.pixels[:: -(-len(learned.pixels) // _RANGE_IMAGES)]
        fit_ranges(network, teacher, some)
    answers = None
    if config.teachers:
        kept_away = (*split.validation, *split.test)
        if config.calibrated_on:
            answers = fold_answers(learned, kept_away, config)
        else:
            answers = teacher_answers(learned, kept_away, config, _network)
    batches: Batches | LesionBatches = Batches(learned, config, answers, place or ALONE, devices)
    if config.learns_lesions:
        batches = _lesion_batches(learned, config, paths, network, answers)
    writes = place is None or place.leads
    return Loop(network, config, batches, validation, checkpoint, writes, teacher), learned


def _distribution() -> ModuleType:
    """Return what a training on several processes needs; only then is JAX imported."""
    from mammoscope.training import distribution

    return distribution


def _epoch_line(epoch: Mapping[str, Any], config: TrainConfig) -> str:
    """Describe the results of an epoch in one line."""
    total = config.head_epochs + config.epochs
    validation = epoch["validation"]
    measured = ""
    if validation:
        measured = (
            f" validation loss {validation['loss']:.3f}, AUC {validation['auc']:.3f} by image, "
            f"{validation['breast_auc']:.3f} by breast;"
        )
    return (
        f"Epoch {epoch['epoch']} of {min(total, config.stop_after or total)}: "
        f"loss {epoch['train']['loss']:.3f};{measured} {sum(epoch['seconds'].values()):.0f} s."
    )


def _preprocess(
    examples: tuple[Example, ...], config: TrainConfig, paths: RunPaths, name: str
) -> PreprocessedExamples:
    if config.layout == "lesions":
        films = read_films(paths.data, examples[0].split)
        return preprocess_films(films, config, paths.cache)
    preprocessed = preprocess_examples(examples, config, paths.cache, f"preprocess {name}")
    if examples:  # a run on all folds has none for validation
        require_both_classes(preprocessed.examples, name)
    return preprocessed


def _lesion_batches(
    learned: PreprocessedExamples,
    config: TrainConfig,
    paths: RunPaths,
    network: keras.Model,
    answers: npt.NDArray[np.float32] | None,
) -> LesionBatches:
    """Batches of films only, or of images and films."""
    grid = network.output["logit_map"].shape[1:3]
    if isinstance(learned, PreprocessedFilms):
        return LesionBatches(None, learned, config, grid)
    if paths.lesions is None:
        raise ConfigurationError("The run also needs a folder of films with outlined lesions.")
    films = preprocess_films(read_films(paths.lesions, "train"), config, paths.cache)
    return LesionBatches(learned, films, config, grid, answers)


def _network(config: TrainConfig) -> keras.Model:
    """Build the network in the run's precision, with its initial weights."""
    policy = keras.config.dtype_policy()
    with phase("build the network"):
        keras.config.set_dtype_policy(precision(config))
        try:
            network = build_network(config)
        finally:
            keras.config.set_dtype_policy(policy)
        load_weights(network, config)
    return network


def _summary(network: keras.Model) -> str:
    lines: list[str] = []
    network.summary(print_fn=lines.append, line_length=100)
    lines += ["", "Backbone:"]
    network.get_layer("backbone").summary(print_fn=lines.append, line_length=100)
    return "\n".join(lines) + "\n"
