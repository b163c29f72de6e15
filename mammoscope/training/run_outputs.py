"""Write a run's outputs besides the network: configuration, environment, scores, card."""

import csv
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from mammoscope import __version__
from mammoscope.errors import StorageError
from mammoscope.evaluation.aggregation import SCORES_NAME, read_scores, with_aggregation
from mammoscope.evaluation.card_curves import with_curves
from mammoscope.evaluation.metrics.assessment import Evaluation, evaluate_scores, evaluate_with_age
from mammoscope.evaluation.metrics.calibration_fit import fit_platt_with_age
from mammoscope.evaluation.metrics.operating import fit_scale
from mammoscope.evaluation.metrics.scored import Scored
from mammoscope.export.score_comparison import LogitPairs, compare
from mammoscope.model.artifact.card import (
    DEFAULT_POINT,
    Card,
    CardOperatingPoint,
    CardQuantisation,
)
from mammoscope.model.artifact.folder import NETWORK_NAME, load_artifact, sha256_of, write_card
from mammoscope.model.calibration import AgeCalibration
from mammoscope.reports.run_figures import write_figures
from mammoscope.settings.training import TrainConfig
from mammoscope.system.files import replacing
from mammoscope.training.batches import PreprocessedExamples
from mammoscope.training.validation import scored

_PACKAGES: Final = ("keras", "tensorflow", "torch", "jax", "numpy", "opencv-python-headless")


class Quantised(NamedTuple):
    """Ends of a quantised network's ranges, and its logits beside the exact network's."""

    ranges: dict[str, float]
    pairs: LogitPairs


class Answers(NamedTuple):
    """Logits for patients not trained on, float32 (N,); what else a quantised network has."""

    logits: npt.NDArray[np.float32]
    quantised: Quantised | None = None


def write_results(
    output: Path,
    validation: PreprocessedExamples,
    answers: Answers,
    facts: dict[str, Any],
    config: TrainConfig,
) -> Card:
    """Calibrate on the validation images, and write scores, figures and card.

    Parameters
    ----------
    output
        Folder of the run, which already has the network and the history.
    validation, answers
        Images of patients that the network was not trained on, and their logits.
    facts
        The card's facts about the training.
    config
        Input size and crop are used.

    Returns
    -------
    Card
        The card.

    Raises
    ------
    StorageError
        If a file cannot be written.
    """
    logits, quantised = answers
    images = scored(validation, logits)
    scale = fit_scale(images, DEFAULT_POINT)
    calibrated = replace(images, calibration=scale.calibration)
    measured = evaluate_scores(calibrated, groups=_groups(validation), thresholds=scale.thresholds)
    age_calibration, with_age = _with_age(validation, calibrated, scale.thresholds)
    _write_scores(output / SCORES_NAME, validation, calibrated)
    write_figures(output)
    digest = sha256_of(output / NETWORK_NAME)
    card = Card(
        version=f"{__version__}+{digest[:8]}",
        sha256=digest,
        input_size=config.input_size,
        channels=config.channels,
        crop=config.crop,
        calibration=scale.calibration,
        age_calibration=age_calibration,
        operating_points=_points(measured, with_age),
        training=facts,
        metrics={
            "validation": {
                **measured.to_json(),
                "by_folds": config.measured_by,
                "with_age": with_age.to_json() if with_age else None,
            }
        },
    )
    ages = [example.facts.age for example in validation.examples]
    if quantised is not None:
        compared = compare(card, quantised.pairs, "int8")
        learned = CardQuantisation(ranges=quantised.ranges, comparison=compared)
        card = card.model_copy(update={"quantisation": learned})
    card = with_curves(with_aggregation(card, calibrated), calibrated, ages)
    write_card(output, card)
    return card


def renew_card(output: Path) -> None:
    """Refit levels and curves of a finished run's card from its validation scores.

    Raises
    ------
    ArtifactError
        If the run's model or scores are missing, damaged or do not belong together.
    StorageError
        If the card cannot be written.
    """
    card = load_artifact(output).require_card()
    images = read_scores(output / SCORES_NAME, card)
    write_card(output, with_curves(with_aggregation(card, images), images))


def _with_age(
    validation: PreprocessedExamples, images: Scored, thresholds: Mapping[str, float]
) -> tuple[AgeCalibration | None, Evaluation | None]:
    """Fit the calibration with age, and evaluate it; None if there is too little data."""
    ages = [example.facts.age for example in validation.examples]
    known = [i for i, age in enumerate(ages) if age is not None]
    if not known:
        return None, None
    years = np.array([ages[i] for i in known], dtype=np.float64)
    fitted = fit_platt_with_age(images.logits[known], years, images.labels[known])
    if fitted is None:
        return None, None
    measured = evaluate_with_age(images, ages, fitted, thresholds=thresholds)
    return (fitted if measured else None), measured


def _points(measured: Evaluation, with_age: Evaluation | None) -> dict[str, CardOperatingPoint]:
    return {
        name: CardOperatingPoint(
            threshold=point.threshold,
            measured=point.to_json(),
            measured_with_age=with_age.operating_points[name].to_json() if with_age else {},
        )
        for name, point in measured.operating_points.items()
    }


def _groups(validation: PreprocessedExamples) -> dict[str, list[str | None]]:
    machines = [example.facts.machine_id for example in validation.examples]
    return {"machine": machines} if any(machines) else {}


def _write_scores(path: Path, validation: PreprocessedExamples, images: Scored) -> None:
    try:
        with (
            replacing(path) as target,
            target.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
        ):
            writer = csv.writer(stream)
            writer.writerow(("file", "label", "patient", "breast", "logit", "probability"))
            rows = zip(
                validation.examples,
                validation.breasts,
                images.logits,
                images.probabilities,
                strict=True,
            )
            for example, breast, logit, probability in rows:
                writer.writerow(
                    (
                        example.name,
                        example.label,
                        example.patient_id,
                        breast,
                        f"{logit:.9g}",  # full precision, for refitting the levels
                        f"{probability:.6f}",
                    )
                )
    except OSError as err:
        raise StorageError("The validation scores cannot be written.") from err


def environment(config: TrainConfig) -> dict[str, Any]:
    """Return versions, commit, backend and seed: the facts needed to repeat a run."""
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
        "precision": precision(config),
        "seed": config.seed,
        "packages": versions,
    }


def _commit() -> str | None:
    """Commit of the code, marked if the code was changed; None outside a checkout."""
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


def precision(config: TrainConfig) -> str:
    """Keras' name of the precision that `config` selects on this machine."""
    if config.precision != "auto":
        return config.precision
    if config.quantised:  # bfloat16 has no more than the levels of 8 bits
        return "float32"
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return "float32"
    return "mixed_bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"
