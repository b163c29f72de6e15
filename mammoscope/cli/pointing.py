"""Measure how often a network's map points at an outlined malignant lesion.

Use the films of use heldout, which no network is trained on. Print how often the centre of the
highest cell is in an outlined malignant lesion, or within half a cell of it, and the AUC of all
cells.
"""

import argparse
import os
from pathlib import Path

from mammoscope.cli.arguments import Subparsers, add_command
from mammoscope.cli.extras import require
from mammoscope.errors import ConfigurationError


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = add_command(subparsers, __name__, run)
    parser.add_argument("network", metavar="FILE", type=Path, help="a trained network, .keras")
    parser.add_argument(
        "--lesions", metavar="DIR", type=Path, required=True, help="films with lesions.csv"
    )
    parser.add_argument(
        "--cache", metavar="DIR", type=Path, default=Path("runs/cache"), help="preprocessed films"
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print; return 0.

    Raises
    ------
    ConfigurationError
        If the network cannot be loaded.
    DatasetError
        If the films cannot be listed.
    StorageError
        If the cache cannot be written.
    """
    require("tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    from mammoscope.training.pointing import TOLERANCE_PX, point

    try:
        network = keras.saving.load_model(args.network, compile=False)
    except (OSError, ValueError, TypeError) as err:
        raise ConfigurationError("The network cannot be loaded; it must be a .keras file.") from err
    found = point(network, args.lesions, args.cache)
    print(f"{found.films} films with a malignant lesion")
    print(f"highest cell in it                {found.hits:.3f}")
    print(f"highest cell within {TOLERANCE_PX:.0f} pixels     {found.near:.3f}")
    print(f"a cell of the breast by chance    {found.by_chance:.3f}")
    print(f"AUC of cells                      {found.cell_auc:.3f}")
    return 0
