"""Whether the service accepts requests, and the reasons if not."""

from typing import Final

from mammoscope.errors import MammoscopeError, NotReadyError
from mammoscope.model.engine import Engine
from mammoscope.service.request_queue import RequestQueue

DRAINING: Final = "draining"
NO_MODEL: Final = "no_model"
NO_FREE_SLOT: Final = "no_free_slot"
REASONS: Final = (DRAINING, NO_MODEL, NO_FREE_SLOT)
"""Reasons why the service may not be ready, as labels of the metric."""


class Readiness:
    """Readiness of one application.

    Parameters
    ----------
    engine
        Inference engine.
    queue
        Request queue.
    full_queue_grace_s
        Seconds without a free slot after which the service is not ready.
    """

    def __init__(self, engine: Engine, queue: RequestQueue, full_queue_grace_s: float) -> None:
        self._engine: Final = engine
        self._queue: Final = queue
        self._full_queue_grace_s: Final = full_queue_grace_s

    def require(self) -> None:
        """Return if the service accepts requests.

        Raises
        ------
        NotReadyError, ArtifactError
            If it does not; the message gives the reason.
        """
        if self._queue.draining:
            raise NotReadyError("The service is shutting down.")
        _ = self._engine.card
        if self._is_stuck():
            raise NotReadyError(f"No slot has become free for {self._full_queue_grace_s:g} s.")

    def reasons(self) -> frozenset[str]:
        """Return the `REASONS` that hold; empty if the service is ready."""
        held = {
            DRAINING: self._queue.draining,
            NO_MODEL: not self._has_model(),
            NO_FREE_SLOT: self._is_stuck(),
        }
        return frozenset(reason for reason, holds in held.items() if holds)

    def _is_stuck(self) -> bool:
        return self._queue.stuck_s() > self._full_queue_grace_s

    def _has_model(self) -> bool:
        try:
            return bool(self._engine.card)
        except MammoscopeError:
            return False
