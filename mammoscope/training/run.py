"""A training run: from a folder of mammograms to a model folder, resumable."""

import csv
import json
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt

from mammoscope import __version__
from mammoscope.artifact import (
    CARD_NAME,
    DEFAULT_POINT,
    NETWORK_NAME,
    Card,
    CardCalibration,
    CardOperatingPoint,
    sha256_of,
    write_card,
)
from mammoscope.dataset import Dataset, Example, read_dataset, require_both_classes
from mammoscope.errors import EmptyDatasetError, RunError, StorageError
from mammoscope.metrics import Scored, evaluate_scores, fit_platt, operating_points
from mammoscope.networks import build_network, export_network, load_weights
from mammoscope.pretraining import read_ddsm
from mammoscope.report import write_figures
from mammoscope.settings import TrainConfig
from mammoscope.splitting import PatientSplit, shared_patients, split_off
from mammoscope.training.batches import Batches, PreparedExamples, prepare_examples
from mammoscope.training.loop import Loop
from mammoscope.training.packing import save_network
from mammoscope.training.regression import fit_head
from mammoscope.training.targets import auxiliary_losses
from mammoscope.training.validation import measure, scored

CONFIG_NAME: Final = "config.json"
HISTORY_NAME: Final = "history.json"
_CHECKPOINT_NAME: Final = "checkpoint.npz"
_SPLIT_NAME: Final = "split.csv"
_TEST_FRACTION: Final = 0.15
_PACKAGES: Final = ("keras", "tensorflow", "torch", "jax", "numpy", "opencv-python-headless")


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
        Folder for prepared pictures, which runs may share.
    metadata
        Table of metadata; None looks for one in `data`.
    """

    data: Path
    output: Path
    cache: Path
    metadata: Path | None = None


@dataclass(frozen=True, slots=True)
class DividedData:
    """A split by patient and how it came about, as the reports say it."""

    split: PatientSplit
    facts: Mapping[str, Any]


def train(
    config: TrainConfig, paths: RunPaths, say: Callable[[str], None], *, resume: bool = False
) -> None:
    """Train a network and leave a model folder in ``paths.output``.

    The folder gets config.json, environment.json, split.csv, history.json, summary.txt,
    validation_scores.csv, figures/, model.keras and card.json. A run that was killed continues
    after its last whole epoch.

    Parameters
    ----------
    config, paths
        What to do, and where.
    say
        Gets what a person should know about data and result, a sentence a call: about the data
        before the hours of work, not after them.
    resume
        Whether to continue the run in ``paths.output``.

    Raises
    ------
    DatasetError
        If the pictures cannot be used.
    RunError
        If the folder holds another run, or this one and `resume` is False.
    StorageError
        If a result cannot be written.
    """
    dataset = (
        read_ddsm(paths.data)
        if config.layout == "ddsm"
        else read_dataset(paths.data, paths.metadata)
    )
    _open_run(config, paths.output, resume=resume)
    divided = divide(dataset, config)
    for sentence in _sentences(divided.facts):
        say(sentence)
    _write_json(paths.output / "environment.json", _environment(config))
    _write_split(paths.output / _SPLIT_NAME, divided.split)

    train_part, validation_part = (
        prepare_examples(part, config.input_size, paths.cache, name)
        for part, name in (
            (divided.split.train, "prepare train"),
            (divided.split.validation, "prepare validation"),
        )
    )
    require_both_classes(train_part.examples, "training")
    require_both_classes(validation_part.examples, "validation")

    keras.utils.set_random_seed(config.seed)
    loop = _loop(config, train_part, validation_part, paths.output / _CHECKPOINT_NAME)
    history = loop.run(lambda done: _write_json(paths.output / HISTORY_NAME, done))
    _write_json(paths.output / HISTORY_NAME, history)
    network = export_network(loop.network, config)
    _write_text(paths.output / "summary.txt", _summary(network))
    save_network(network, paths.output / NETWORK_NAME)
    # Measured on what was saved: rounded weights, float32.
    loop.network = network
    logits = loop.predict(validation_part.pixels)
    facts = {
        "config": config.described(),
        "data": {**divided.facts, "refused": _refused(train_part, validation_part)},
        "environment": _environment(config),
    }
    _finish(paths.output, validation_part, logits, facts, config)
    (paths.output / _CHECKPOINT_NAME).unlink(missing_ok=True)
    last = history[-1]["validation"]
    say(f"Validation AUC after the last epoch: {last['auc']:.3f} by picture.")


def divide(dataset: Dataset, config: TrainConfig) -> DividedData:
    """Merge train and valid, set test apart, and split validation off, all by patient.

    Where the published test folder shares patients with the rest, everything is divided anew,
    unless the configuration asks for the published split: then the test folder stays out of this
    run altogether, and the split is called leaky wherever it is reported.
    """
    published_test = dataset.split("test")
    pool = tuple(e for e in dataset.examples if e.split != "test")
    if not pool:
        raise EmptyDatasetError("There is nothing to train on: only test/ holds pictures.")
    leaked = shared_patients(pool, published_test)
    kind = "published" if published_test else "by patient, no published test folder"
    test = published_test
    if leaked and config.split == "patients":
        kind = "divided anew by patient"
        pool, test = split_off(dataset.examples, _TEST_FRACTION, config.seed)
    leaky = bool(leaked) and config.split == "published"
    train_part, validation = split_off(pool, config.validation_fraction, config.seed)
    split = PatientSplit(train_part, validation, () if leaky else test)
    return DividedData(
        split=split,
        facts={
            "kind": kind,
            "leaky": leaky,
            "shared_patients": len(leaked),
            "patients_known": dataset.patients_known,
            "seed": config.seed,
            **{
                name: {
                    "images": len(part),
                    "patients": len({e.patient_id for e in part}),
                    "positives": sum(e.label for e in part),
                }
                for name, part in (
                    ("train", split.train),
                    ("validation", split.validation),
                    ("test", test),
                )
            },
        },
    )


def _open_run(config: TrainConfig, output: Path, *, resume: bool) -> None:
    """Make the run's folder, or see that it holds this very run."""
    resolved = config.model_dump(mode="json")
    stored_path = output / CONFIG_NAME
    if not stored_path.exists():
        if output.is_dir() and any(output.iterdir()):
            raise RunError("The output folder is not empty and holds no run.")
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise StorageError("The output folder cannot be made.") from err
        _write_json(stored_path, resolved)
        return
    if not resume:
        raise RunError("The output folder holds a run; continue it with --resume.")
    if (output / CARD_NAME).exists():
        raise RunError("The run in the output folder is complete.")
    try:
        stored = json.loads(stored_path.read_text("utf-8"))
    except (OSError, ValueError) as err:
        raise RunError("The configuration of the run in the output folder is damaged.") from err
    differing = sorted(key for key in resolved if stored.get(key) != resolved[key])
    if differing:
        raise RunError(
            f"The run in the output folder was started with other values of {', '.join(differing)}."
        )


def _loop(
    config: TrainConfig, train_part: PreparedExamples, validation: PreparedExamples, path: Path
) -> Loop:
    losses = auxiliary_losses(train_part.examples) if config.auxiliary else {}
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(_precision(config))
    try:
        network = build_network(config, list(losses))
    finally:
        keras.config.set_dtype_policy(policy)
    head_is_trained = load_weights(network, config)
    batches = Batches(train_part, config, list(losses))
    if config.starts_from_regression and not head_is_trained and not path.is_file():
        fit_head(network, batches, config.head_epochs)
        loop = Loop(network, config, batches, validation, losses, path)
        measured = measure(validation, loop.predict(validation.pixels))
        _write_json(path.with_name("regression.json"), {"validation": measured})
    return Loop(network, config, batches, validation, losses, path)


def _precision(config: TrainConfig) -> str:
    if config.precision != "auto":
        return config.precision
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return "float32"
    return "mixed_bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


def _finish(
    output: Path,
    validation: PreparedExamples,
    logits: npt.NDArray[np.float32],
    facts: dict[str, Any],
    config: TrainConfig,
) -> None:
    """Calibrate on the validation pictures and write scores, figures and card."""
    pictures = scored(validation, logits)
    calibration = fit_platt(pictures.logits, pictures.labels)
    calibrated = Scored.of(
        pictures.labels,
        pictures.logits,
        patients=list(pictures.patients),
        breasts=list(pictures.breasts),
        calibration=calibration,
    )
    points = operating_points(
        calibrated.probabilities, calibrated.labels, list(calibrated.patients)
    )
    _write_scores(output / "validation_scores.csv", validation, calibrated)
    write_figures(output)
    digest = sha256_of(output / NETWORK_NAME)
    card = Card(
        version=f"{__version__}+{digest[:8]}",
        sha256=digest,
        input_size=config.input_size,
        calibration=CardCalibration(slope=calibration.slope, intercept=calibration.intercept),
        operating_points={
            DEFAULT_POINT: CardOperatingPoint(threshold=0.5),
            **{
                name: CardOperatingPoint(threshold=point.threshold, measured=point.to_json())
                for name, point in points.items()
            },
        },
        training=facts,
        metrics={"validation": evaluate_scores(calibrated).to_json()},
    )
    write_card(output, card)


def _write_scores(path: Path, validation: PreparedExamples, pictures: Scored) -> None:
    try:
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(("file", "label", "patient", "breast", "logit", "probability"))
            rows = zip(
                validation.examples,
                validation.breasts,
                pictures.logits,
                pictures.probabilities,
                strict=True,
            )
            for example, breast, logit, probability in rows:
                writer.writerow(
                    (
                        example.path.name,
                        example.label,
                        example.patient_id,
                        breast,
                        f"{logit:.6f}",
                        f"{probability:.6f}",
                    )
                )
    except OSError as err:
        raise StorageError("The validation scores cannot be stored.") from err


def _write_split(path: Path, split: PatientSplit) -> None:
    parts: Sequence[tuple[str, tuple[Example, ...]]] = (
        ("train", split.train),
        ("validation", split.validation),
        ("test", split.test),
    )
    lines = ["file,label,patient_id,part"]
    for name, part in parts:
        lines += [f"{e.path.name},{e.label},{e.patient_id},{name}" for e in part]
    _write_text(path, "\n".join(lines) + "\n")


def _environment(config: TrainConfig) -> dict[str, Any]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "mammoscope": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "backend": keras.backend.backend(),
        "precision": _precision(config),
        "seed": config.seed,
        "packages": versions,
    }


def _commit() -> str | None:
    """Commit of the code, with a mark where it was changed since; None outside a checkout."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],  # noqa: S607
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _summary(network: keras.Model) -> str:
    lines: list[str] = []
    network.summary(print_fn=lines.append, line_length=100)
    backbone = network.get_layer("backbone")
    lines += ["", "Backbone:"]
    backbone.summary(print_fn=lines.append, line_length=100)
    return "\n".join(lines) + "\n"


def _refused(*parts: PreparedExamples) -> dict[str, int]:
    codes = sorted({code for part in parts for code in part.refused})
    return {code: sum(part.refused.get(code, 0) for part in parts) for code in codes}


def _sentences(facts: Mapping[str, Any]) -> list[str]:
    sentences = []
    if facts["leaky"]:
        sentences.append(
            f"LEAKY split: {facts['shared_patients']} patients stand in the published test folder "
            "and in train or valid; use results for like-for-like comparison only."
        )
    elif facts["shared_patients"]:
        sentences.append(
            f"The published test folder shares {facts['shared_patients']} patients with train and "
            "valid, so everything was divided anew by patient (split.csv); --split published "
            "keeps the published folders."
        )
    if not facts["patients_known"]:
        sentences.append(
            "Some pictures name no patient: each counts as one of its own, and leakage cannot be "
            "excluded. Give the patients with --metadata."
        )
    return sentences


def _write_json(path: Path, content: object) -> None:
    _write_text(path, json.dumps(content, indent=2) + "\n")


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as err:
        raise StorageError("A result of the run cannot be stored.") from err
