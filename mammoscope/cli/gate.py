"""Measure the quality gate, and fit its learned part.

Pass mammograms and other images through the quality gate, and print how many pass, with 95 %
confidence intervals. Half of the patients are measured; images of unknown patients are divided by
file name. With --fit, the learned gate is first fitted to the other half and written to the card of
--model. Mosaics, rotated images and thumbnails of the measured mammograms are measured as well.
"""

import argparse
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from mammoscope.cli.arguments import Subparsers, add_command, add_model_to_change, positive
from mammoscope.cli.extras import require
from mammoscope.cli.output import (
    is_standard_output,
    require_folder,
    say,
    shown,
    write_json,
)
from mammoscope.errors import ImageError
from mammoscope.evaluation import gate as gates
from mammoscope.evaluation.arrangements import arrange, upright
from mammoscope.evaluation.evaluate import map_ahead
from mammoscope.evaluation.gate import Count, Seen, Source
from mammoscope.imaging.arrays import Grey
from mammoscope.imaging.learned_gate import LearnedGate
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.reading import read_file
from mammoscope.model.artifact.folder import CARD_NAME, load_artifact, write_card
from mammoscope.system.progress import phase, progress

_PAIRS: Final = 50
Size = tuple[int, int]


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = add_command(subparsers, __name__, run)
    for kind, what in (("mammograms", "mammograms"), ("others", "other images")):
        parser.add_argument(
            f"--{kind}",
            metavar="DIR",
            type=Path,
            nargs="+",
            required=True,
            help=f"{what}: half are measured, half used for fitting",
        )
        parser.add_argument(
            f"--unseen-{kind}",
            metavar="DIR",
            type=Path,
            nargs="+",
            default=(),
            help=f"{what} that are all measured; none is used for fitting",
        )
    parser.add_argument("--fit", action="store_true", help="fit the gate and write it to the card")
    parser.add_argument(
        "--every", metavar="N", type=positive, default=1, help="use every Nth image only"
    )
    parser.add_argument(
        "--pairs", metavar="N", type=positive, default=_PAIRS, help="number of pairs for mosaics"
    )
    add_model_to_change(parser)
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help="write the counts as JSON instead of tables; - for standard output",
    )


def run(args: argparse.Namespace) -> int:
    """Fit, measure and print; return 0.

    Raises
    ------
    ArtifactError
        If the model has no card.
    EmptyDatasetError
        If a folder has no images, or there are too few images for fitting.
    StorageError
        If the card or the file cannot be written.
    """
    require_folder(args.json)
    card = load_artifact(args.model).require_card()
    size, every = card.input_size, args.every
    mammograms = {path: gates.find_sources(path)[::every] for path in args.mammograms}
    others = {path: gates.find_sources(path)[::every] for path in args.others}
    gate = card.gate
    if args.fit:
        require("sklearn")
        fitted = [
            *_fitted_to(mammograms.values(), size),
            *_phantoms(size, every, None, held_out=False),
        ]
        others_fitted = list(_fitted_to(others.values(), size))
        with phase("fit the gate"):
            gate = gates.fit(fitted, others_fitted)
        write_card(args.model, card.model_copy(update={"gate": gate}))
        say(f"The gate was written to {CARD_NAME} in {args.model}.", args.json)
    counts: dict[str, dict[str, Count]] = {}
    counts["mammograms"] = {
        "phantoms": Count.of([seen for _, seen in _phantoms(size, every, gate, held_out=True)])
    }
    for kind, halves, unseen in (
        ("mammograms", mammograms, args.unseen_mammograms),
        ("other images", others, args.unseen_others),
    ):
        measured = {path: [each for each in found if each.held_out]
                    for path, found in halves.items()}  # fmt: skip
        measured |= {path: gates.find_sources(path)[::every] for path in unseen}
        by_folder = counts.setdefault(kind, {})
        for path, sources in measured.items():
            by_folder[shown(path)] = Count.of([each for _, each in _see(sources, size, gate)])
    held_out = [each for found in mammograms.values() for each in found if each.held_out]
    counts["arranged"] = _arranged(held_out, args.pairs, size, gate)
    if not is_standard_output(args.json):
        _print(counts)
    if args.json is not None:
        content = {kind: {name: each.to_json() for name, each in found.items()}
                   for kind, found in counts.items()}  # fmt: skip
        write_json(args.json, {"model_version": card.version, "counts": content})
    return 0


def _fitted_to(folders: Iterable[Sequence[Source]], size: Size) -> Iterator[tuple[str, Seen]]:
    for sources in folders:
        yield from _see([each for each in sources if not each.held_out], size, None)


def _phantoms(
    size: Size, every: int, gate: LearnedGate | None, *, held_out: bool
) -> Iterator[tuple[str, Seen]]:
    drawn = gates.phantoms(held_out=held_out, every=every)
    for number, phantom in enumerate(progress(drawn, -(-gates.PHANTOMS // every), "phantoms")):
        yield f"phantom {number}", gates.see(phantom, size, gate)


def _see(
    sources: Sequence[Source], size: Size, gate: LearnedGate | None
) -> Iterator[tuple[str, Seen]]:
    outcomes = map_ahead(lambda each: gates.see_file(each.path, size, gate), sources)
    groups = [each.group for each in sources]
    yield from zip(groups, progress(outcomes, len(sources)), strict=True)


def _arranged(
    sources: Sequence[Source], pairs: int, size: Size, gate: LearnedGate | None
) -> dict[str, Count]:
    step = max(1, len(sources) // (pairs + 1))
    found: defaultdict[str, list[Seen]] = defaultdict(list)
    chosen = progress(sources[::step], len(sources[::step]), "arrangements")
    for one, other in itertools.pairwise(_uprights(chosen, size)):
        for name, image in arrange(one, other):
            found[name].append(gates.see(image, size, gate))
    return {name: Count.of(seen) for name, seen in found.items()}


def _uprights(sources: Iterable[Source], size: Size) -> Iterator[Grey]:
    """Pixels of the readable mammograms."""
    for source in sources:
        try:
            mammogram = read_file(source.path)
            yield upright(mammogram, preprocess(mammogram, size))
        except ImageError:
            continue


def _print(counts: Mapping[str, Mapping[str, Count]]) -> None:
    """Print a table for each kind of image."""
    for kind, found in counts.items():
        print(
            f"\n{kind.capitalize():42}{'images':>7}{'rules':>7}{'pass':>7}{'silent':>7}{'few':>5}"
        )
        for name, count in found.items():
            _print_row(name, count)
        _print_row("together", sum(found.values(), Count(0, 0, 0, 0, 0)))
    print(
        "\nrules: pass the rules; pass: also pass the learned gate; silent: pass without a warning,"
        "\nexcept of few pixels; few: pass with a warning of few pixels; brackets: shares of pass"
        "\nand silent, with 95 % confidence intervals."
    )


def _print_row(name: str, count: Count) -> None:
    cells = (count.images, count.rules_pass, count.passed, count.unmentioned)
    print(f"  {name[-40:]:40}{''.join(f'{each:7,}' for each in cells)}{count.few_pixels:5,}")
    if count.images:
        shares = (_share(part, count.images) for part in (count.passed, count.unmentioned))
        print(f"    ({'; '.join(shares)})")


def _share(part: int, whole: int) -> str:
    low, high = gates.wilson(part, whole)
    return f"{part / whole:.2%}, {low:.2%} to {high:.2%}"
