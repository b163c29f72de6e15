"""Check that this CPU gives the same scores as the one on which the precision was chosen.

In bfloat16, CPUs sum and round differently, and OpenVINO does not report when this changes scores.
The card therefore stores the logits of a few phantoms.
"""

from typing import Final

import numpy as np

from mammoscope.imaging.arrays import Pixels
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.model.artifact.card import Card
from mammoscope.model.engine.protocol import Engine
from mammoscope.phantoms.drawing import MIN_SIDE, PhantomConfig, draw_phantom

_ALLOWED_DIFFERENCE: Final = 0.01
"""Maximum difference in any phantom's calibrated probability: a third of what bfloat16 may change.
Other orders of rounding on equivalent CPUs cause less."""

_SEEDS: Final = range(4)

_VIEWS: Final = (View.CRANIO_CAUDAL, View.MEDIO_LATERAL_OBLIQUE)


def score_phantoms(engine: Engine) -> tuple[float, ...]:
    """Logits of a few phantoms, always the same for a given input size."""
    return tuple(engine.infer(draw_phantoms(engine.card)).logits.tolist())


def scores_as_compiled(engine: Engine, phantoms: Pixels) -> bool:
    """Whether phantoms score as recorded in the card; True if the card has no record."""
    compiled = engine.card.compiled
    if compiled is None or not compiled.reference_logits:
        return True
    ours, theirs = (
        [engine.card.calibration.probability(logit) for logit in logits]
        for logits in (engine.infer(phantoms).logits.tolist(), compiled.reference_logits)
    )
    # NaN counts as a disagreement.
    return len(ours) == len(theirs) and bool(
        np.all(np.abs(np.subtract(ours, theirs)) <= _ALLOWED_DIFFERENCE)
    )


def draw_phantoms(card: Card) -> Pixels:
    """Phantoms as input, the same in each channel; for a small input, a part of each phantom."""
    height, width = card.input_size
    drawn = [
        draw_phantom(
            PhantomConfig(
                seed,
                Laterality.LEFT,
                _VIEWS[seed % 2],
                mass=seed > 1,
                label_text=False,
                height=max(height, MIN_SIDE),
                width=max(width, MIN_SIDE),
            )
        ).pixels[:height, :width]
        for seed in _SEEDS
    ]
    grey = np.round(np.stack(drawn) * 255).astype(np.uint8)
    return grey if card.channels == "ranks" else np.repeat(grey[..., None], 3, axis=-1)
