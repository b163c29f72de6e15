"""Publish a training run's model and record.

Copy a run's model and card into a model folder, and its record below it, without file names,
patient ids or paths. Images are named by their sha256, patients by a hash.
"""

import argparse
import csv
import io
import json
import shutil
from pathlib import Path
from typing import Final

from mammoscope.cli.arguments import Subparsers, add_command
from mammoscope.data.split_table import SPLIT_NAME, hashed, read_split
from mammoscope.errors import MetadataError, RunError, StorageError
from mammoscope.model.artifact.folder import (
    CARD_NAME,
    NETWORK_NAME,
    Artifact,
    load_artifact,
    sha256_of,
)
from mammoscope.model.cache import COMPILED_NAME
from mammoscope.settings.training import TrainConfig
from mammoscope.system.files import json_text, replacing_files

RECORD_FOLDER: Final = "experiments"
_RECORD_NAMES: Final = ("environment.json", "history.json")
_NETWORK_NAME: Final = "network.json"
_SCORES_NAME: Final = "validation_scores.csv"


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = add_command(subparsers, __name__, run)
    parser.add_argument("training_run", metavar="RUN", type=Path, help="training run to publish")
    parser.add_argument("--data", metavar="DIR", type=Path, required=True, help="the run's images")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, required=True, help="model folder to write to"
    )
    parser.add_argument(
        "--record-only",
        action="store_true",
        help="copy only the record, even of an incomplete run",
    )


def run(args: argparse.Namespace) -> int:
    """Copy, and print the folders; 0.

    Raises
    ------
    ArtifactError
        If the run has no model, or its card does not belong to it.
    DatasetError
        If the images cannot be listed.
    ConfigurationError
        If the run used a removed feature.
    RunError
        If the run's record is damaged or names images that do not exist.
    StorageError
        If a file cannot be written.
    """
    artifact = None if args.record_only else load_artifact(args.training_run)
    record = copy_record(args.training_run, args.data, args.output / RECORD_FOLDER)
    print(f"The record is in {record}.")
    if artifact is not None:
        try:
            _copy_model(artifact, args.output)
        except OSError as err:
            raise StorageError("The release cannot be written.") from err
        print(f"The model is in {args.output}.")
    return 0


def copy_record(source: Path, data: Path, to: Path) -> Path:
    """Copy the publishable part of a run's record into a folder of its name below `to`.

    Returns
    -------
    Path
        That folder.

    Raises
    ------
    DatasetError
        If the images in `data` cannot be listed.
    ConfigurationError
        If the run used a removed feature.
    RunError
        If the record is damaged or names images that do not exist.
    StorageError
        If a file cannot be written.
    """
    texts = _record(source, data)
    record = to / source.resolve().name
    try:
        record.mkdir(parents=True, exist_ok=True)
        with replacing_files(record) as work:
            for name, text in texts.items():
                (work / name).write_text(text, encoding="utf-8")
    except OSError as err:
        raise StorageError("The record cannot be written.") from err
    return record


def _copy_model(artifact: Artifact, to: Path) -> None:
    """Copy network and card; remove a network compiled from an earlier model."""
    with replacing_files(to) as work:
        for name in (NETWORK_NAME, CARD_NAME):
            shutil.copyfile(artifact.network.parent / name, work / name)
    shutil.rmtree(to / COMPILED_NAME, ignore_errors=True)


def _record(source: Path, data: Path) -> dict[str, str]:
    """Return the publishable part of a run's record: text by file name."""
    try:
        config = TrainConfig.from_record((source / "config.json").read_bytes())
        texts = {"config.json": json_text(config.described())}
        for name in _RECORD_NAMES:
            texts[name] = (source / name).read_text(encoding="utf-8")
        if (source / _NETWORK_NAME).is_file():
            texts[_NETWORK_NAME] = (source / _NETWORK_NAME).read_text(encoding="utf-8")
        if (source / CARD_NAME).is_file():
            card = json.loads((source / CARD_NAME).read_bytes())
            metrics = {"model_version": card["version"], **card["metrics"]}
            texts["metrics.json"] = json_text(metrics)
            texts[_SCORES_NAME] = _anonymous_scores(source / _SCORES_NAME, config, data)
            texts[SPLIT_NAME] = _anonymous_split(source)
    except (OSError, ValueError, KeyError, MetadataError) as err:
        raise RunError("The run's record is damaged or belongs to other images.") from err
    return texts


def _anonymous_scores(path: Path, config: TrainConfig, data: Path) -> str:
    from mammoscope.training.division import read_examples  # imports scikit-learn

    images = {each.name: each.path for each in read_examples(config, data).examples}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("sha256", "label", "patient", "breast", "logit", "probability"))
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            writer.writerow(
                (
                    sha256_of(images[row["file"]]),
                    row["label"],
                    hashed(row["patient"]),
                    hashed(row["breast"]),
                    row["logit"],
                    row["probability"],
                )
            )
    return text.getvalue()


def _anonymous_split(run: Path) -> str:
    """Return the part of each patient, one line per patient."""
    parts = {hashed(row.patient_id): row.part for row in read_split(run)}
    lines = [f"{patient},{part}" for patient, part in sorted(parts.items())]
    return "\n".join(["patient,part", *lines]) + "\n"
