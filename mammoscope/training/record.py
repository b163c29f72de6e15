"""What a run leaves behind beside the network: configuration, environment, scores, card."""

import csv
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt

from mammoscope import __version__
from mammoscope.artifact import (
    DEFAULT_POINT,
    NETWORK_NAME,
    Card,
    CardAgeCalibration,
    CardCalibration,
    CardOperatingPoint,
    sha256_of,
    write_card,
)
from mammoscope.dataset import Example
from mammoscope.errors import StorageError
from mammoscope.metrics import (
    Scored,
    evaluate_scores,
    fit_platt,
    fit_platt_with_age,
    measure_points,
    operating_points,
)
from mammoscope.report import write_figures
from mammoscope.settings import TrainConfig
from mammoscope.training.batches import PreparedExamples
from mammoscope.training.validation import scored

_PACKAGES: Final = ("keras", "tensorflow", "torch", "jax", "numpy", "opencv-python-headless")


def write_results(
    output: Path,
    validation: PreparedExamples,
    logits: npt.NDArray[np.float32],
    facts: dict[str, Any],
    config: TrainConfig,
) -> None:
    """Calibrate on the validation pictures and write scores, figures and card.

    Parameters
    ----------
    output
        Folder of the run; the network and the history are there already.
    validation, logits
        Pictures of patients whom the scoring head never saw, and its float32 (N,) logits.
    facts
        What the card says of the training.
    config
        The input size is used.

    Raises
    ------
    StorageError
        If a file cannot be written.
    """
    pictures = scored(validation, logits)
    calibration = fit_platt(pictures.logits, pictures.labels)
    calibrated = Scored.of(
        pictures.labels,
        pictures.logits,
        patients=list(pictures.patients),
        breasts=list(pictures.breasts),
        calibration=calibration,
    )
    chosen = operating_points(
        calibrated.probabilities, calibrated.labels, list(calibrated.patients)
    )
    thresholds = {DEFAULT_POINT: 0.5, **{name: each.threshold for name, each in chosen.items()}}
    age_calibration, with_age = _with_age(validation, calibrated)
    _write_scores(output / "validation_scores.csv", validation, calibrated)
    write_figures(output)
    digest = sha256_of(output / NETWORK_NAME)
    card = Card(
        version=f"{__version__}+{digest[:8]}",
        sha256=digest,
        input_size=config.input_size,
        calibration=CardCalibration(slope=calibration.slope, intercept=calibration.intercept),
        age_calibration=age_calibration,
        operating_points=_points(thresholds, calibrated, with_age),
        training=facts,
        metrics={
            "validation": {
                **evaluate_scores(
                    calibrated, groups=_groups(validation), thresholds=thresholds
                ).to_json(),
                "with_age": None if with_age is None else evaluate_scores(with_age).to_json(),
            }
        },
    )
    write_card(output, card)


def _with_age(
    validation: PreparedExamples, pictures: Scored
) -> tuple[CardAgeCalibration | None, Scored | None]:
    """The calibration with age, and the pictures whose age is known, scored with it."""
    ages = [example.facts.age for example in validation.examples]
    known = np.flatnonzero([age is not None for age in ages])
    years = np.array([ages[i] for i in known], dtype=np.float64)
    if np.unique(pictures.labels[known]).size < 2:
        return None, None
    fitted = fit_platt_with_age(pictures.logits[known], years, pictures.labels[known])
    if fitted is None:
        return None, None
    scored_with_age = Scored.of(
        pictures.labels[known],
        fitted.log_odds(pictures.logits[known], years),
        patients=list(pictures.patients[known]),
        breasts=list(pictures.breasts[known]),
    )
    return CardAgeCalibration(**asdict(fitted)), scored_with_age


def _points(
    thresholds: Mapping[str, float], pictures: Scored, with_age: Scored | None
) -> dict[str, CardOperatingPoint]:
    without = measure_points(thresholds, pictures)
    informed = {} if with_age is None else measure_points(thresholds, with_age)
    return {
        name: CardOperatingPoint(
            threshold=threshold,
            measured=without[name].to_json(),
            measured_with_age=informed[name].to_json() if informed else {},
        )
        for name, threshold in thresholds.items()
    }


def _groups(validation: PreparedExamples) -> dict[str, list[str | None]]:
    machines = [example.facts.machine_id for example in validation.examples]
    return {"machine": machines} if any(machines) else {}


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


def write_split(path: Path, parts: Mapping[str, Sequence[Example]]) -> None:
    """Write which picture stands in which named part."""
    lines = ["file,label,patient_id,part"]
    for name, part in parts.items():
        lines += [f"{e.path.name},{e.label},{e.patient_id},{name}" for e in part]
    write_text(path, "\n".join(lines) + "\n")


def environment(config: TrainConfig) -> dict[str, Any]:
    """Versions, commit, backend and seed: what it takes to repeat a run."""
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


def precision(config: TrainConfig) -> str:
    """Keras' name of the precision that `config` asks for, on this machine."""
    if config.precision != "auto":
        return config.precision
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return "float32"
    return "mixed_bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


def write_json(path: Path, content: object) -> None:
    """Write JSON, whole or not at all; raises `StorageError`."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8, whole or not at all; raises `StorageError`."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as err:
        raise StorageError("A result of the run cannot be stored.") from err
