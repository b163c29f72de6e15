"""``python -m mammoscope quality PATH...``: which images no network should see, and why."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mammoscope.cli.evaluate import shown, write_json
from mammoscope.cli.score import find_images
from mammoscope.errors import ImageError, MammoscopeError, NotAMammogramError, StorageError
from mammoscope.evaluation.evaluate import map_ahead
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.quality import measure, reasons
from mammoscope.imaging.reading import read_file

_SIZE = (96, 72)
"""Of the preprocessed image, in pixels, which nobody looks at here."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says of one file: why it is refused, nothing if it passes.

    ``code`` is that of the error a prediction would raise, None for an image that passes.
    """

    path: Path
    code: str | None
    reasons: tuple[str, ...]
    measured: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON object."""
        content = asdict(self)
        return {**content, "path": str(self.path), "reasons": list(self.reasons)}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "quality",
        help="say which images are no mammograms that can be judged",
        description=(
            "Read and measure files, and the images in folders and all folders below them, "
            "without any model, and print for each PATH how many are refused and why."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="file or folder")
    parser.add_argument(
        "--every",
        metavar="N",
        type=int,
        default=1,
        help="take one image of N, for a look at a large folder",
    )
    parser.add_argument("--list", action="store_true", help="print the verdict on each image too")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write what was measured as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Judge and print; 0, or 1 if an image was refused.

    Raises
    ------
    StorageError
        If the file cannot be written; the table is out by then unless its folder is missing.
    """
    if args.json is not None and not args.json.parent.is_dir():
        raise StorageError("The folder of a file to write does not exist.")
    everything: list[Verdict] = []
    for path in args.paths:
        found = list(find_images([path]))[:: max(1, args.every)]
        bar = tqdm(
            map_ahead(judge, found),
            total=len(found),
            unit="image",
            file=sys.stderr,
            disable=None,
            leave=False,
        )
        verdicts = list(bar)
        everything += verdicts
        _print(path, verdicts, listed=args.list)
    if args.json is not None:
        write_json(args.json, {"pictures": [verdict.to_json() for verdict in everything]})
    return int(any(verdict.code for verdict in everything))


def judge(found: Path | tuple[Path, MammoscopeError]) -> Verdict:
    """Put one file, or what keeps it from being read, through reader, preprocessing and gate."""
    if isinstance(found, tuple):
        path, error = found
        return Verdict(path, error.code, (str(error),))
    try:
        mammogram = read_file(found)
        appearance = measure(mammogram, preprocess(mammogram, _SIZE))
    except ImageError as err:
        return Verdict(found, err.code, (str(err),))
    why = reasons(appearance)
    return Verdict(found, NotAMammogramError.code if why else None, why, asdict(appearance))


def _print(path: Path, verdicts: Sequence[Verdict], *, listed: bool) -> None:
    if listed:
        for verdict in verdicts:
            answer = "; ".join(verdict.reasons) or "a mammogram"
            print(f"{shown(verdict.path)}: {answer}")
    refused = [verdict for verdict in verdicts if verdict.code]
    share = len(refused) / len(verdicts)
    print(f"{shown(path)}: {len(refused):,} of {len(verdicts):,} refused ({share:.1%})")
    counted = Counter(reason for verdict in refused for reason in verdict.reasons)
    for reason, count in counted.most_common():
        print(f"  {count:7,}  {reason}")
    sys.stdout.flush()
