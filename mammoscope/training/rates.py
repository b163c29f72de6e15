"""An optimizer with larger steps for some variables than for the backbone."""

from collections.abc import Sequence
from typing import Any

import keras


class HeadRate(keras.optimizers.AdamW):  # type: ignore[misc, unused-ignore]  # Keras has no types
    """AdamW with a multiple of its rate for all variables except some.

    A head that starts from random weights, or an end of a range, needs larger changes than a
    pretrained backbone.

    Parameters
    ----------
    factor
        Multiple of the learning rate.
    **settings
        Arguments of AdamW.
    """

    def __init__(self, factor: float, **settings: Any) -> None:
        super().__init__(**settings)
        self._factor = factor
        self._spared: frozenset[int] = frozenset()

    def spare(self, variables: Sequence[Any]) -> None:
        """Record variables that keep the rate; call it after the optimizer is built."""
        self._spared = frozenset(self._get_variable_index(variable) for variable in variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable."""
        spared = self._get_variable_index(variable) in self._spared
        super().update_step(gradient, variable, learning_rate * (1.0 if spared else self._factor))
