"""``mammoscope predict PATH...``: predict a probability for each mammogram."""

import argparse
import csv
import itertools
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

from mammoscope.cli import pseudonym_key
from mammoscope.cli.arguments import HelpFormatter, add_model, add_operating_point
from mammoscope.cli.output import STANDARD_OUTPUT, UNKNOWN_PATIENT, shown, write_json
from mammoscope.cli.result_file import Origin, ResultFile, require_new
from mammoscope.cli.sharding import Shard
from mammoscope.errors import (
    ImageError,
    MammoscopeError,
    StorageError,
    UnreadableFileError,
    UsageError,
)
from mammoscope.evaluation.evaluate import map_ahead
from mammoscope.imaging.dicom import Pseudonyms
from mammoscope.imaging.image_files import IMAGE_SUFFIXES, walk_images
from mammoscope.imaging.network_input import NetworkInput
from mammoscope.imaging.pool import ReadingPool
from mammoscope.imaging.reading import file_bytes
from mammoscope.model.artifact.folder import load_artifact
from mammoscope.model.engine import Engine
from mammoscope.model.prediction import RESEARCH_USE_NOTICE, Prediction
from mammoscope.studies import (
    COLUMNS,
    PATIENT_WARNINGS,
    Placement,
    RefusedImage,
    StudyImage,
    StudyResult,
    aggregate,
    find_study,
    predict_image,
    to_rows,
)
from mammoscope.system.cpus import available_processors
from mammoscope.system.files import is_folder
from mammoscope.system.progress import phase, progress

_log: Final = logging.getLogger(__name__)

Outcome = Prediction | MammoscopeError

Source = Path | tuple[Path, MammoscopeError]
"""A file to predict, or a path without files with the reason."""

Outputs = tuple[IO[str] | None, Callable[[dict[str, Any]], None] | None]
"""The stream for the table, and the function that writes a file's JSON; None writes nothing."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "predict",
        help="predict mammograms",
        description=(
            f"Predict files, and the images in folders and their subfolders. {RESEARCH_USE_NOTICE}"
        ),
        formatter_class=HelpFormatter,
    )
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="file or folder")
    add_model(parser)
    add_operating_point(parser)
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="also write JSON Lines, one object per file; - writes them to standard output instead "
        "of the table; an existing FILE with content is refused",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue with the results in --json FILE of a stopped command: images already in "
        "FILE are skipped",
    )
    parser.add_argument(
        "--shard",
        metavar="INDEX/COUNT",
        help="predict only a part of the files, to share the work between machines: 0/4 is the "
        "first of four parts; a file's path determines its part",
    )
    parser.add_argument(
        "--study",
        action="store_true",
        help="treat each PATH as images of studies, a folder or a manifest (CSV: file, "
        "patient_id, laterality, view), and also predict by breast and patient, as CSV or --json",
    )
    parser.add_argument(
        "--id-key",
        metavar="FILE",
        type=Path,
        help="with --study: secret key of at least 16 bytes for patients' pseudonyms, which keeps "
        "them the same in every run",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Predict, and write each result at once; 0, or 1 if an image was refused.

    Raises
    ------
    ArtifactError, ConfigurationError
        If the model cannot be used or has no such operating point.
    UsageError
        If options conflict.
    UnreadableFileError, MetadataError
        If a study has no images, or its manifest cannot be used.
    StorageError
        If a result cannot be written; results before it are kept.
    """
    shard = Shard.parse(args.shard) if args.shard else None
    if shard and args.study:
        raise UsageError("--shard cannot be combined with --study: it would split a study.")
    is_file = args.json not in (None, STANDARD_OUTPUT)
    if args.resume and (args.study or not is_file):
        raise UsageError("--resume needs --json FILE, and cannot be combined with --study.")
    if args.study and is_file:
        require_new(Path(args.json))
    artifact = load_artifact(args.model)

    from mammoscope.model.engine import load_engine

    # Before the engine starts threads: reading processes are forked from a process without threads.
    with ReadingPool(available_processors()) as reader:
        with phase("load the model"):
            engine = load_engine(artifact)
        if args.study:
            return _predict_study(args, engine, reader)
        return _predict_files(args, engine, reader, shard)


def _predict_files(
    args: argparse.Namespace, engine: Engine, reader: ReadingPool, shard: Shard | None
) -> int:
    """Write a result for each file; 0, or 1 if an image was refused."""
    found = (each for each in find_images(args.paths) if shard is None or _in(shard, each))
    outputs: Outputs
    if args.json is None or args.json == STANDARD_OUTPUT:
        outputs = (sys.stdout, None) if args.json is None else (None, _print_json)
        return int(_predict(found, engine, reader, args.operating_point, outputs) > 0)
    origin = Origin(engine.card.version, engine.card.threshold(args.operating_point))
    try:
        with ResultFile(Path(args.json), origin, resume=args.resume) as results:
            if results.paths:
                _log.info("The file already has %d results.", len(results.paths))
            left: Iterator[Source] = (
                each for each in found if str(_path_of(each)) not in results.paths
            )
            first = next(left, None)
            if first is None:
                _log.info("No image is left to predict.")
                return int(results.refused > 0)
            left = itertools.chain([first], left)
            outputs = (sys.stdout, results.write)
            refused = _predict(left, engine, reader, args.operating_point, outputs)
    except BrokenPipeError:  # reported by `mammoscope.__main__`
        raise
    except OSError as err:
        raise StorageError(
            "A result cannot be written: no space left or no permission. Earlier results are kept."
        ) from err
    return int(refused + results.refused > 0)


def _predict_study(args: argparse.Namespace, engine: Engine, reader: ReadingPool) -> int:
    """Predict by image, breast and patient; 0, or 1 if an image was refused or none found."""
    key = pseudonym_key.read(args.id_key) if args.id_key else Pseudonyms.new_key()
    options = engine.card.reading_options(pseudonym_key=key)

    def work(found: tuple[Path, Placement]) -> StudyImage:
        path, placement = found

        def read() -> NetworkInput:
            return reader.read(file_bytes(path), options)

        return predict_image(engine, str(path), read, placement, args.operating_point)

    # An image given twice, as in a folder and by its name, must not count twice.
    found = list(dict.fromkeys(each for path in args.paths for each in find_study(path)))
    bar = progress(map_ahead(work, found), len(found))
    study = aggregate(list(bar), engine.card, args.operating_point)
    try:
        if args.json is None:
            writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(to_rows(study))
        else:
            write_json(Path(args.json), study.to_json())
    except BrokenPipeError:
        raise
    except OSError as err:
        raise StorageError("The result cannot be written: no space left or no permission.") from err
    _warn_of_patients(study)
    refused = sum(isinstance(each, RefusedImage) for each in study.images)
    if not study.patients and refused < len(study.images):
        sys.stderr.write(f"mammoscope: {UNKNOWN_PATIENT}\n")
    return int(refused > 0 or not study.images)


def _warn_of_patients(study: StudyResult) -> None:
    """Repeat warnings that concern the results of breasts and patients, too."""
    given = {each for image in study.images for each in getattr(image, "warnings", ())}
    for warning in PATIENT_WARNINGS:
        if warning in given:
            sys.stderr.write(f"mammoscope: {warning}\n")


def find_images(paths: Sequence[Path]) -> Iterator[Source]:
    """Yield files as given, and the images of folders sorted by name.

    A folder that cannot be listed, or has no images, is yielded with the error.
    """
    for path in paths:
        if not is_folder(path):
            yield path  # an error is reported when it is read as a file
            continue
        found = False
        for outcome in _walk(path):
            found = True
            yield outcome
        if not found:
            yield (
                path,
                UnreadableFileError(
                    f"The folder has no images; image names end in {', '.join(IMAGE_SUFFIXES)}."
                ),
            )


def to_json(path: Path, outcome: Outcome) -> dict[str, Any]:
    """Return the JSON object of one file: path, and either the prediction or the error."""
    if isinstance(outcome, Prediction):
        return {"path": str(path), **outcome.to_json()}
    return {"path": str(path), "error": {"code": outcome.code, "message": str(outcome)}}


def to_line(path: Path, outcome: Outcome) -> str:
    """Return the table row of one file."""
    if isinstance(outcome, MammoscopeError):
        return f"{'–':11}  {'refused':9}  {shown(path)}: {outcome} [{outcome.code}]"
    warnings = f" ({' '.join(outcome.warnings)})" if outcome.warnings else ""
    return f"{outcome.probability:<11.3f}  {outcome.label:9}  {shown(path)}{warnings}"


def _in(shard: Shard, found: Source) -> bool:
    return shard.holds(_path_of(found))


def _path_of(found: Source) -> Path:
    return found[0] if isinstance(found, tuple) else found


def _print_json(result: dict[str, Any]) -> None:
    print(json.dumps(result), flush=True)


def _predict(
    images: Iterable[Source],
    engine: Engine,
    reader: ReadingPool,
    operating_point: str,
    outputs: Outputs,
) -> int:
    """Predict, and write the results; returns the number of refused images."""
    options = engine.card.reading_options()

    def work(found: Source) -> tuple[Path, Outcome]:
        if isinstance(found, tuple):
            return found
        try:
            image = reader.read(file_bytes(found), options)
            return found, engine.predict(image, operating_point=operating_point)
        except ImageError as err:
            return found, err

    table, write = outputs
    refused = 0
    if table is not None:
        print(f"{'probability':11}  {'label':9}  file", file=table, flush=True)
    for path, outcome in map_ahead(work, images):
        refused += isinstance(outcome, MammoscopeError)
        # Written before the table, so that the result is kept if standard output breaks.
        if write is not None:
            write(to_json(path, outcome))
        if table is not None:
            print(to_line(path, outcome), file=table, flush=True)
    return refused


def _walk(folder: Path) -> Iterator[Source]:
    unlisted: list[OSError] = []
    yield from walk_images(folder, unlisted.append)
    for error in unlisted:
        yield (
            Path(error.filename or folder),
            UnreadableFileError("The folder cannot be listed."),
        )
