"""Learning rates as functions of progress, so that a resumed run needs no schedule state.

The falling shapes are Keras' own. However, Keras has no cyclical schedule, a warm-up only for its
cosine, and a plateau that forgets its epochs when a run is resumed. The loop therefore sets the
rate step by step.
"""

import math
from collections.abc import Sequence
from typing import Final

from keras.ops import convert_to_numpy
from keras.optimizers.schedules import CosineDecay, ExponentialDecay

from mammoscope.settings.training import ScheduleName

_FLOOR: Final = 0.01
"""Final share of the peak for falling schedules."""

_FALLING: Final = {
    "cosine": CosineDecay(1.0, decay_steps=1.0, alpha=_FLOOR),
    "exponential": ExponentialDecay(1.0, decay_steps=1.0, decay_rate=_FLOOR),
}
"""Maps a share of the steps to a share of the peak."""

_CYCLES: Final = 2
_PLATEAU_PATIENCE: Final = 2
_PLATEAU_FACTOR: Final = 0.3


def learning_rate_share(
    schedule: ScheduleName,
    progress: float,
    warmup_fraction: float,
    validation_losses: Sequence[float] = (),
) -> float:
    """Return the share of the peak learning rate at a point of the run, in (0, 1].

    Parameters
    ----------
    schedule
        ``constant``; ``cosine`` or ``exponential``, down to 1 % of the peak; ``cyclical``,
        triangular between 1 % and the peak (Smith LN, WACV 2017); ``plateau``, multiplied by 0.3
        after 2 epochs without a lower validation loss.
    progress
        Completed share of all steps, in [0, 1).
    warmup_fraction
        Share of all steps during which the rate rises linearly, in [0, 1).
    validation_losses
        Losses of the completed epochs; used by ``plateau`` only.
    """
    if progress < warmup_fraction:
        return max(progress / warmup_fraction, _FLOOR)
    rest = (progress - warmup_fraction) / (1.0 - warmup_fraction)
    if schedule in _FALLING:
        return float(convert_to_numpy(_FALLING[schedule](rest)))
    if schedule == "cyclical":
        phase = (rest * _CYCLES) % 1.0
        return _FLOOR + (1.0 - _FLOOR) * (1.0 - abs(2.0 * phase - 1.0))
    if schedule == "plateau":
        return float(_PLATEAU_FACTOR ** _plateaus(validation_losses))
    return 1.0


def _plateaus(losses: Sequence[float]) -> int:
    """Number of times the loss has stopped falling."""
    best, waited, cuts = math.inf, 0, 0
    for loss in losses:
        if loss < best:
            best, waited = loss, 0
            continue
        waited += 1
        if waited >= _PLATEAU_PATIENCE:
            cuts, waited = cuts + 1, 0
    return cuts
