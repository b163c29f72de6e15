"""Forms of a network, tried one after another until one scores like the network itself."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from tqdm import tqdm

from mammoscope.export.blocks import Block, find_blocks
from mammoscope.export.comparison import Logits, loss
from mammoscope.export.comparison_images import PreprocessedImages
from mammoscope.export.quantisation import Bias, head_of, line, quantise, straighten
from mammoscope.model.artifact import Card, CardComparison, CompiledFiles, Method
from mammoscope.model.engine import make_engine

Kind = Literal["int8", "bfloat16", "float"]
"""What is tried first; whatever is slower follows."""

LEAST_IN_8_BITS: Final = 0.5
"""Share of the operations below which 8 bits are given up: little speed would be left, for values
are converted wherever blocks of both kinds meet."""

_IN_FLOAT: Final[tuple[Method, ...]] = ("bfloat16", "float16_weights", "float32_weights")

_RANGING_IMAGES: Final = 32
"""Images that ranges are taken from where blocks are only to be ranked."""

_RANKING_IMAGES: Final = 96
"""Images by which blocks are ranked."""


@dataclass(frozen=True, slots=True, eq=False)
class Original:
    """The network in float, and what it says of the images.

    Parameters
    ----------
    model
        OpenVINO model.
    card
        Its card.
    images
        To take ranges of values from and to compare on.
    calibration, comparison
        float32: its logits of these images.
    """

    model: Any
    card: Card
    images: PreprocessedImages
    calibration: Logits
    comparison: Logits


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """A form of the network to be tried, with the blocks that are left in float."""

    method: Method
    model: Any
    float_blocks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """A form of the network as it was stored, and what became of scores, size and speed.

    Parameters
    ----------
    method, kind, comparison, share_in_8_bits, float_blocks, speed
        As in the card.
    files
        Where it was stored for the moment.
    bytes
        Size of the files.
    """

    method: Method
    kind: Literal["int8", "float"]
    comparison: CardComparison
    share_in_8_bits: float
    float_blocks: tuple[str, ...]
    speed: float
    files: CompiledFiles
    bytes: int

    @property
    def accepted(self) -> bool:
        """Whether its scores are near enough."""
        return loss(self.comparison) <= 1.0


Attempt = Callable[[Form], Trial]


def climb(original: Original, kind: Kind, attempt: Attempt) -> Trial | None:
    """Try forms of a network, the fastest first; return what is to be kept, None if nothing is.

    Parameters
    ----------
    original
        The network.
    kind
        What to begin with.
    attempt
        Stores a form and compares its scores.
    """
    if kind == "int8":
        for form in _quantised(original):
            if (trial := attempt(form)).accepted:
                return trial
        if (best := _with_fewest_in_float(original, attempt)) is not None:
            return best
    for method in _IN_FLOAT:
        if method == "bfloat16" and kind == "float":
            continue
        if (trial := attempt(Form(method, original.model))).accepted:
            return trial
    return None


def rank_blocks(original: Original) -> list[Block]:
    """Blocks of a network, first that which costs most for each of its operations in 8 bits.

    Each block is quantised alone. What it costs is the variance of what that adds to the logit,
    less what is straightened in the end; errors of several blocks add up to the sum of theirs.
    """
    images = original.images
    blocks = find_blocks(original.model, head_of(original.model))
    ranging = images.calibration[_spread(len(images.calibration), _RANGING_IMAGES)]
    chosen = _spread(len(images.comparison), _RANKING_IMAGES)
    costs = []
    for block in tqdm(blocks, "blocks", unit="block", file=sys.stderr, disable=None, leave=False):
        others = [name for other in blocks if other is not block for name in other.names]
        alone = make_engine(quantise(original.model, ranging, in_float=others), original.card)
        found, exact = alone.infer(images.comparison[chosen]).logits, original.comparison[chosen]
        factor, summand = line(found, exact)
        variance = float(np.mean(np.square(factor * found + summand - exact), dtype=np.float64))
        costs.append(variance / block.operations)
    order = np.argsort(costs, kind="stable")[::-1]
    return [blocks[i] for i in order]


def _quantised(original: Original) -> Iterator[Form]:
    """All blocks in 8 bits."""
    yield Form("quantised", _made(original, "fast"))
    yield Form("quantised_full_bias", _made(original, "full"))


def _with_fewest_in_float(original: Original, attempt: Attempt) -> Trial | None:
    """Leave those blocks in float that cost most, as few as will do; found by halving."""
    ranked = rank_blocks(original)
    best = None
    low, high = 1, _most_in_float(ranked)
    while low <= high:
        middle = (low + high) // 2
        trial = attempt(_without(original, ranked[:middle]))
        if trial.accepted:
            best, high = trial, middle - 1
        else:
            low = middle + 1
    return best


def _without(original: Original, left_out: Sequence[Block]) -> Form:
    names = {name for block in left_out for name in block.names}
    blocks = sorted(left_out, key=lambda block: block.number)
    return Form(
        "quantised_except_blocks",
        _made(original, "full", in_float=names),
        tuple(block.title for block in blocks),
    )


def _most_in_float(ranked: Sequence[Block]) -> int:
    """How many blocks may be left in float, the first of `ranked`."""
    done = np.cumsum([block.operations for block in ranked])
    return int(np.count_nonzero(done <= (1 - LEAST_IN_8_BITS) * done[-1])) if ranked else 0


def _made(original: Original, bias: Bias, in_float: set[str] | frozenset[str] = frozenset()) -> Any:
    pixels = original.images.calibration
    made = quantise(original.model, pixels, bias=bias, in_float=in_float)
    return straighten(made, original.card, pixels, original.calibration)


def _spread(count: int, most: int) -> Any:
    """Indices of at most `most` among `count`, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
