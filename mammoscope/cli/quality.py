"""List the images that the quality gate refuses.

Read and measure files, and the images in folders and their subfolders, without a model. For each
PATH, print the number of refused images and the reasons.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mammoscope.cli.arguments import Subparsers, add_command, positive
from mammoscope.cli.output import is_standard_output, require_folder, shown, write_json
from mammoscope.cli.predict import find_images
from mammoscope.errors import ImageError, MammoscopeError, NotAMammogramError
from mammoscope.evaluation.evaluate import map_ahead
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.quality import measure, reasons
from mammoscope.imaging.reading import read_file
from mammoscope.system.progress import progress

_SIZE = (96, 72)
"""Size of the preprocessed image in pixels; the gate does not use it."""


@dataclass(frozen=True, slots=True)
class QualityResult:
    """Result of the quality gate for one file: the reasons for a refusal, empty if it passes.

    ``code`` is that of the error a prediction would raise, None for an image that passes.
    """

    path: Path
    code: str | None
    reasons: tuple[str, ...]
    measured: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        content = asdict(self)
        return {**content, "path": str(self.path), "reasons": list(self.reasons)}


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = add_command(subparsers, __name__, run)
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="file or folder")
    parser.add_argument(
        "--every",
        metavar="N",
        type=positive,
        default=1,
        help="measure one image in N, for a quick look at a large folder",
    )
    parser.add_argument("--list", action="store_true", help="also print the result of each image")
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help="write the measurements as JSON; - writes them to standard output instead of lines",
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print; 0, or 1 if an image was refused.

    Raises
    ------
    StorageError
        If the file cannot be written. A missing folder is reported first, other errors after the
        table.
    """
    require_folder(args.json)
    everything: list[QualityResult] = []
    for path in args.paths:
        found = list(find_images([path]))[:: args.every]
        results = list(progress(map_ahead(check, found), len(found)))
        everything += results
        if not is_standard_output(args.json):
            _print(path, results, listed=args.list)
    if args.json is not None:
        write_json(args.json, {"pictures": [result.to_json() for result in everything]})
    return int(any(result.code for result in everything))


def check(found: Path | tuple[Path, MammoscopeError]) -> QualityResult:
    """Read, preprocess and measure one file; an error from listing it is its result."""
    if isinstance(found, tuple):
        path, error = found
        return QualityResult(path, error.code, (str(error),))
    try:
        mammogram = read_file(found)
        appearance = measure(mammogram, preprocess(mammogram, _SIZE))
    except ImageError as err:
        return QualityResult(found, err.code, (str(err),))
    why = reasons(appearance)
    return QualityResult(found, NotAMammogramError.code if why else None, why, asdict(appearance))


def _print(path: Path, results: Sequence[QualityResult], *, listed: bool) -> None:
    if listed:
        for result in results:
            answer = "; ".join(result.reasons) or "a mammogram"
            print(f"{shown(result.path)}: {answer}")
    refused = [result for result in results if result.code]
    share = len(refused) / len(results)
    print(f"{shown(path)}: {len(refused):,} of {len(results):,} refused ({share:.1%})")
    counted = Counter(reason for result in refused for reason in result.reasons)
    for reason, count in counted.most_common():
        print(f"  {count:7,}  {reason}")
    sys.stdout.flush()
