"""Measure a data set, and the effect of leakage and shortcuts on it.

Count a data set's images. On those outside its test split, measure the AUC of a split by image, and
of scanner, brightness and age alone. The record has no names of files or patients; notebooks and
figures use it.
"""

import argparse
from pathlib import Path

from mammoscope.cli.arguments import Subparsers, add_command, add_labels, read_labelled
from mammoscope.cli.output import is_standard_output, require_folder, say, write_json


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = add_command(subparsers, __name__, run)
    parser.add_argument("data", metavar="DATA", type=Path, help="folder of mammograms")
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help="write the record, such as model/experiments/dataset.json; - writes it to standard "
        "output instead of the lines",
    )
    add_labels(parser)


def run(args: argparse.Namespace) -> int:
    """Explore and write; 0.

    Raises
    ------
    DatasetError
        If the images cannot be used.
    StorageError
        If the record cannot be written.
    """
    from mammoscope.evaluation.exploration import explore
    from mammoscope.reports.tables import cell

    require_folder(args.json)
    dataset = read_labelled(args.data, labels=args.labels)
    found = explore(dataset)
    if args.json is not None:
        write_json(args.json, found)
    lines = [
        f"One small model, split by {name}: AUC {cell(part['auc'])}; per fold, "
        f"{part['shared_patients']:.0f} of {part['judged_patients']:.0f} test patients "
        "are also training patients"
        for name, part in (
            ("image", found["leakage"]["by_image"]),
            ("patient", found["leakage"]["by_patient"]),
        )
    ]
    lines.append(f"Difference: {cell(found['leakage']['difference'], signed=True)}")
    lines += [f"AUC of {name} alone: {cell(area)}" for name, area in found["shortcuts"].items()]
    if args.json is not None and not is_standard_output(args.json):
        lines.append(f"The record is in {args.json}.")
    say("\n".join(lines), args.json)
    return 0
