"""``mammoscope archive report FOLDER --output DIR``: results of studies as DICOM files."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mammoscope.cli.arguments import HelpFormatter, Subparsers, add_model, add_operating_point
from mammoscope.cli.extras import require
from mammoscope.cli.output import shown
from mammoscope.errors import (
    ImageError,
    MammoscopeError,
    ResultError,
    StorageError,
    UnreadableFileError,
)
from mammoscope.evaluation.evaluate import map_ahead
from mammoscope.imaging.dicom import is_dicom
from mammoscope.imaging.image_files import walk_images
from mammoscope.imaging.pool import ReadingPool
from mammoscope.imaging.reading import file_bytes
from mammoscope.model.artifact.folder import load_artifact
from mammoscope.model.engine import Engine
from mammoscope.model.prediction import RESEARCH_USE_NOTICE
from mammoscope.system.cpus import available_processors
from mammoscope.system.files import replacing_folder

_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*", re.ASCII)
"""PS3.5 9.1; nothing else becomes the name of a folder."""


def add_parser(commands: Subparsers) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "report",
        help="write the results of a folder's studies as DICOM files",
        description=(
            "Predict all studies in a folder of DICOM files. For each study, write a folder named "
            "by its Study Instance UID with a Structured Report, heat maps (Segmentation) and "
            "pictures of them (Secondary Capture). Objects that are no mammograms of the machine "
            f"itself are left out and listed. {RESEARCH_USE_NOTICE}"
        ),
        formatter_class=HelpFormatter,
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="folder of DICOM files")
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        required=True,
        help="folder for the results, created if it does not exist; a study that already has "
        "results there is refused",
    )
    add_model(parser)
    add_operating_point(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the results of every study; 0, or 1 if an image or a study was refused.

    Raises
    ------
    ArtifactError, ConfigurationError
        If the model cannot be used or has no such operating point.
    UnreadableFileError
        If the folder has no mammogram in DICOM, or cannot be listed.
    StorageError
        If results cannot be written; those of earlier studies are kept.
    """
    require("highdicom")
    artifact = load_artifact(args.model)
    found = _Found(args.folder)
    if not found.studies:
        raise UnreadableFileError("The folder has no mammograms in DICOM.").at(args.folder)

    from mammoscope.model.engine import load_engine

    # Before the engine starts threads: reading processes are forked from a process without threads.
    with ReadingPool(available_processors()) as reader:
        engine = load_engine(artifact)
        _create(args.output)
        refused = found.refused
        for uid, paths in found.studies.items():
            refused += _report_study(args, uid, paths, engine, reader)
    print(RESEARCH_USE_NOTICE)
    return int(refused > 0)


class _Found:
    """The DICOM files below a folder; prints those that are left out or refused.

    Attributes
    ----------
    studies
        Paths of the mammograms, by Study Instance UID, in the order of their names.
    refused
        Number of files that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        from mammoscope.archive.selection import examine

        self.studies: dict[str, list[Path]] = {}
        self.refused = 0
        known: set[str] = set()
        for path in walk_images(folder, _cannot_be_listed):
            try:
                data = file_bytes(path)
                if not is_dicom(data):
                    _say_left_out(path, "The file is not DICOM.")
                    continue
                instance = examine(data)
            except ImageError as err:
                _say_refused(path, err)
                self.refused += 1
                continue
            if instance.left_out is not None:
                _say_left_out(path, instance.left_out)
            elif instance.sop_instance_uid and instance.sop_instance_uid in known:
                _say_left_out(path, "The image is a copy of another file's.")
            else:
                known.add(instance.sop_instance_uid)
                self.studies.setdefault(instance.study_instance_uid, []).append(path)


def _report_study(
    args: argparse.Namespace, uid: str, paths: list[Path], engine: Engine, reader: ReadingPool
) -> int:
    """Predict and report one study; returns the number of refusals, its own included."""
    from mammoscope.archive.results import RefusedSource, encode_results, predict_source

    try:
        target = _target(args.output, uid)
        sources = list(
            map_ahead(
                lambda path: predict_source(
                    file_bytes(path), engine, reader.read, args.operating_point
                ),
                paths,
            )
        )
        refused = 0
        for path, source in zip(paths, sources, strict=True):
            if isinstance(source, RefusedSource):
                print(f"refused   {shown(path)}: {source.refusal.message} [{source.refusal.code}]")
                refused += 1
        results = encode_results(sources, engine.card, operating_point=args.operating_point)
    except (ResultError, ImageError) as err:
        _say_refused(paths[0].parent, err)
        return 1
    _write(target, [result.data for result in results])
    images = len(paths) - refused
    print(f"reported  {shown(target)}: {images} of {len(paths)} images", flush=True)
    return refused


def _target(output: Path, uid: str) -> Path:
    """Return the folder for a study's results, which does not exist."""
    if not _UID.fullmatch(uid):
        raise ResultError("The study has no valid Study Instance UID.")
    target = output / uid
    if target.exists():
        raise ResultError("The study already has results in --output; choose another folder.")
    return target


def _write(folder: Path, results: list[bytes]) -> None:
    """Write the results of a study: all or none."""
    try:
        with replacing_folder(folder) as work:
            for name, data in zip(_names(), results, strict=False):
                (work / name).write_bytes(data)
    except OSError as err:
        raise StorageError(
            "The results cannot be written: no space left or no permission. Results of earlier "
            "studies are kept."
        ) from err


def _names() -> Iterator[str]:
    """File names of results, in the order of `mammoscope.archive.results.encode_results`."""
    yield "report.dcm"
    number = 0
    while True:
        number += 1
        yield f"heat_map_{number:02}.dcm"
        yield f"picture_{number:02}.dcm"


def _create(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise StorageError("The folder for the results cannot be created.") from err


def _cannot_be_listed(error: OSError) -> None:
    raise UnreadableFileError("The folder cannot be listed.").at(Path(error.filename)) from error


def _say_left_out(path: Path, reason: str) -> None:
    print(f"left out  {shown(path)}: {reason}", flush=True)


def _say_refused(path: Path, error: MammoscopeError) -> None:
    print(f"refused   {shown(path)}: {error} [{error.code}]", flush=True)
