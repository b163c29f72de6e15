"""``mammoscope dev explore DATA``: what a data set holds, as numbers without names."""

import argparse
from pathlib import Path
from typing import Final

from tqdm import tqdm

from mammoscope.cli.release import RECORD_FOLDER
from mammoscope.errors import StorageError

DEFAULT: Final = Path("model") / RECORD_FOLDER / "dataset.json"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "explore",
        help="record what a data set holds, what leakage and shortcuts would buy on it",
        description=(
            "Count a data set's images, and measure on those outside its test split what a "
            "split by image and what scanner, brightness and age alone would score. The record "
            "names no file and no patient; notebooks and figures are made of it."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("data", metavar="DATA", type=Path, help="folder of mammograms")
    parser.add_argument("--json", metavar="FILE", type=Path, default=DEFAULT, help="to where")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Explore and write; 0.

    Raises
    ------
    DatasetError
        If the images cannot be used.
    StorageError
        If the record cannot be written.
    """
    from mammoscope.evaluation.exploration import explore_once
    from mammoscope.reports import cell

    try:
        args.json.unlink(missing_ok=True)
    except OSError as err:
        raise StorageError("The earlier record cannot be replaced.") from err
    with tqdm(desc="images", unit="image", disable=None) as bar:
        found = explore_once(args.data, args.json, bar.update)
    for name, part in (
        ("image", found["leakage"]["by_image"]),
        ("patient", found["leakage"]["by_patient"]),
    ):
        print(
            f"One small model, split by {name}: AUC {cell(part['auc'])}; in each "
            f"fold {part['shared_patients']:.0f} of {part['judged_patients']:.0f} test patients "
            "are training patients too"
        )
    print(f"The difference: {cell(found['leakage']['difference'], signed=True)}")
    for name, area in found["shortcuts"].items():
        print(f"AUC of {name} alone: {cell(area)}")
    print(f"The record is in {args.json}.")
    return 0
