"""``mammoscope audit DIR``: report the content and the defects of a folder of mammograms."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mammoscope.cli.arguments import add_labels, read_labelled
from mammoscope.cli.output import require_folder, say, write_json
from mammoscope.data.dataset import Dataset, require_both_classes
from mammoscope.errors import EmptyDatasetError
from mammoscope.system.progress import progress

if TYPE_CHECKING:
    from mammoscope.data.audit import AuditReport


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "audit",
        help="check a data set: counts, duplicates, label conflicts, leaks",
        description=(
            "Read every image of a folder SPLIT/LABEL/FILE (or LABEL/FILE) and report counts, "
            "unreadable files, duplicates, label conflicts, inverted images, patients, breasts, "
            "and patients or images in more than one split. The folder is not changed."
        ),
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder of the data set")
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help="also write the report as JSON; - writes it to standard output instead of the lines",
    )
    parser.add_argument(
        "--metadata",
        metavar="CSV",
        type=Path,
        help="table with columns file, patient_id, ... (default: metadata.csv in DIR, if any)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="exit 1 on a leak or a label conflict"
    )
    add_labels(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Audit, print the lines and write the JSON; 1 with ``--strict`` on a leak or conflict, else 0.

    Raises
    ------
    DatasetError
        If the folder or its metadata cannot be used. Errors about a single class or no readable
        image are raised after the report is printed.
    StorageError
        If the JSON cannot be written. A missing folder is reported first, other errors after the
        report is printed.
    """
    json_path: Path | None = args.json
    require_folder(json_path)
    dataset = read_labelled(args.folder, args.metadata, args.labels)
    report = _audit(dataset, json_path)
    if json_path is not None:
        write_json(json_path, report.to_json())
    if len(report.refused) == report.pictures:
        raise EmptyDatasetError("Every image in the folder was refused.")
    require_both_classes(dataset.examples, "training or evaluation")
    return int(args.strict and not report.passed)


def _audit(dataset: Dataset, json_path: Path | None) -> "AuditReport":
    """Audit with a progress bar, and print the report."""
    # Imported here, because the service does not need imagehash.
    from mammoscope.data.audit import audit, describe

    with progress(range(0), len(dataset.examples)) as bar:
        report = audit(dataset, bar.update)
    say("\n".join(describe(report)), json_path)
    return report
