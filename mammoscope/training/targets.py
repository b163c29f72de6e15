"""What the network is asked beside the label: columns of the metadata as further targets.

They are dropped from the saved network. Machine and site are never asked: they are what the
score should not know.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from mammoscope.data.dataset import Example, Facts
from mammoscope.imaging.mammogram import View

_MEAN_AGE_YEARS: Final = 60.0
_AGE_SCALE_YEARS: Final = 10.0
"""Ages become about standard normal; only the scale of the loss depends on these."""

_DENSE: Final = ("C", "D")


def _view(facts: Facts) -> float | None:
    return None if facts.view is None else float(facts.view is View.CRANIO_CAUDAL)


def _age(facts: Facts) -> float | None:
    return None if facts.age is None else (facts.age - _MEAN_AGE_YEARS) / _AGE_SCALE_YEARS


def _dense(facts: Facts) -> float | None:
    return None if facts.density is None else float(facts.density in _DENSE)


def _invasive(facts: Facts) -> float | None:
    return None if facts.invasive is None else float(facts.invasive)


def _recalled(facts: Facts) -> float | None:
    # BI-RADS 0 is "incomplete", that is recalled; 1 and 2 are negative and benign.
    return None if facts.birads is None else float(facts.birads == 0)


_TARGETS: Final[dict[str, tuple[str, Callable[[Facts], float | None]]]] = {
    "view": ("binary_crossentropy", _view),
    "age": ("mean_squared_error", _age),
    "dense": ("binary_crossentropy", _dense),
    "invasive": ("binary_crossentropy", _invasive),
    "recalled": ("binary_crossentropy", _recalled),
}
"""Name of the output: its loss, and what the metadata answers (None: unknown)."""

TAUGHT: Final = "taught"
"""Name of the target that the logit has besides the label where teachers answer."""

AUXILIARY_WEIGHT: Final = 0.15
"""Weight of each further target's loss beside the label's 1."""


def auxiliary_losses(examples: Sequence[Example]) -> dict[str, str]:
    """Further targets that at least two different answers are known for: name to loss."""
    losses = {}
    for name, (loss, answer) in _TARGETS.items():
        known = {answer(example.facts) for example in examples} - {None}
        if len(known) > 1:
            losses[name] = loss
    return losses


def auxiliary_targets(
    examples: Sequence[Example], name: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Answers and their weights, both float32 (N,); unknown answers are 0 with weight 0."""
    answers = [_TARGETS[name][1](example.facts) for example in examples]
    known = np.array([answer is not None for answer in answers], dtype=np.float32)
    values = np.array([answer or 0.0 for answer in answers], dtype=np.float32)
    return values, known
