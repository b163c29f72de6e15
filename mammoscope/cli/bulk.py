"""Predict an archive of images into a Parquet dataset.

Predict all images of a folder, glob, manifest, zip or tar archive, or object store (s3://, gs://,
az://) with Ray, on this machine or a cluster. The same command continues a stopped one.
"""

import argparse
from pathlib import Path

from mammoscope.cli.arguments import Subparsers, add_command, add_model, add_operating_point
from mammoscope.cli.extras import require
from mammoscope.cli.pseudonym_key import read_or_make
from mammoscope.errors import UsageError
from mammoscope.model.artifact.folder import load_artifact


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = add_command(subparsers, __name__, run)
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="folder, glob, manifest (CSV or Parquet: file, patient_id, laterality, view), .zip, "
        ".tar, or URL",
    )
    parser.add_argument(
        "--output",
        metavar="OUT",
        required=True,
        help="folder or URL of the Parquet dataset; results of the same model in it are kept",
    )
    add_model(parser)
    add_operating_point(parser)
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="a running Ray cluster, or auto for that of this machine; without it, Ray runs on "
        "this machine until the command ends",
    )
    parser.add_argument(
        "--id-key",
        metavar="FILE",
        type=Path,
        help="secret key of at least 16 bytes for pseudonyms of files and patients; created if "
        "missing; default: OUT.key beside a local OUT",
    )
    parser.add_argument(
        "--identifiers",
        action="store_true",
        help="write file names, SHA-256 of files and a manifest's patients as they are",
    )


def run(args: argparse.Namespace) -> int:
    """Predict, and print how many; 0, or 1 if an image was refused.

    Raises
    ------
    ArtifactError, ConfigurationError
        If the model cannot be used or has no such operating point, or the output has other results.
    UsageError
        If options conflict, or no cluster answers.
    UnreadableFileError, MetadataError
        If the source cannot be listed.
    StorageError
        If a result cannot be written; those before it are kept.
    """
    for package in ("ray", "pyarrow", "fsspec"):
        require(package)
    model = args.model.absolute()
    card = load_artifact(model).require_card()
    card.threshold(args.operating_point)

    from mammoscope.bulk.cluster import on_ray
    from mammoscope.bulk.predictor import BulkJob
    from mammoscope.bulk.running import check, has_results, predict_in_bulk, require_images

    source, output = _absolute(args.source), _absolute(args.output)
    key_file = _key_file(args)
    require_images(source)
    if has_results(output) and not key_file.exists():
        raise UsageError(
            "OUT has results, but the key of their pseudonyms is missing. Put OUT.key back beside "
            "it, or name the key's file with --id-key. Without the key, name another OUT."
        )
    job = BulkJob(
        source=source,
        output=output,
        model=model,
        operating_point=args.operating_point,
        key=read_or_make(key_file),
        identifiers=args.identifiers,
    )
    check(job, card)
    with on_ray(args.address):
        result = predict_in_bulk(job, card)
    print(
        f"{result.files} images, of which {result.refused} were refused and "
        f"{result.files - result.predicted} were there already; {result.breasts} breasts, "
        f"{result.patients} patients."
    )
    return int(result.refused > 0)


def _absolute(path: str) -> str:
    """Return a path for processes that run in another folder; URLs do not change."""
    return path if "://" in path else str(Path(path).absolute())


def _key_file(args: argparse.Namespace) -> Path:
    if args.id_key is not None:
        key_file: Path = args.id_key
        return key_file
    if "://" in args.output:
        raise UsageError(
            "--output is a URL, so --id-key FILE must say where the key for pseudonyms is kept."
        )
    output = Path(args.output).absolute()
    return output.with_name(f"{output.name}.key")
