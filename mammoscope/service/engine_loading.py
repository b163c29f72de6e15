"""The engine as the service sees it, and one that becomes ready in the background."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol, Self

import structlog

from mammoscope.errors import ArtifactError, MammoscopeError, NotReadyError
from mammoscope.imaging.mammogram import Mammogram
from mammoscope.model.artifact import DEFAULT_POINT, Card
from mammoscope.model.engine import Judgement, Pixels, Scores

_log = structlog.get_logger(__name__)


class ScoringEngine(Protocol):
    """What the service needs of `mammoscope.model.engine.Engine`; called by many threads."""

    @property
    def card(self) -> Card:
        """Card of the model that answers."""
        ...

    def judge(
        self, mammogram: Mammogram, *, operating_point: str = ..., age: float | None = ...
    ) -> Judgement:
        """Judge one image."""
        ...

    def score(self, pixels: Pixels) -> Scores:
        """Score preprocessed images."""
        ...


class LoadingEngine:
    """An engine that is made in a thread of its own while the service already listens.

    A model that cannot be used must neither bring the process down, for it would be started again
    and again, nor keep the probes from saying what is wrong. So until the engine is there each use
    raises NotReadyError, and where making it failed, each use raises what it failed with.

    Parameters
    ----------
    make
        Makes the engine; called once.
    """

    def __init__(self, make: Callable[[], ScoringEngine]) -> None:
        self._make = make
        self._engine: Future[ScoringEngine] = Future()

    def start(self) -> Self:
        """Begin to make the engine and return at once."""
        threading.Thread(target=self._load, daemon=True, name="load-engine").start()
        return self

    @property
    def card(self) -> Card:
        """Card of the model that answers.

        Raises
        ------
        NotReadyError
            If the engine is still being made.
        MammoscopeError
            If it could not be made.
        """
        return self._loaded().card

    def judge(
        self,
        mammogram: Mammogram,
        *,
        operating_point: str = DEFAULT_POINT,
        age: float | None = None,
    ) -> Judgement:
        """Judge one image; raises like `card`."""
        return self._loaded().judge(mammogram, operating_point=operating_point, age=age)

    def score(self, pixels: Pixels) -> Scores:
        """Score preprocessed images; raises like `card`."""
        return self._loaded().score(pixels)

    def _loaded(self) -> ScoringEngine:
        if not self._engine.done():
            raise NotReadyError("The model is still being loaded.")
        failure = self._engine.exception()
        if failure is None:
            return self._engine.result()
        # A new one for each caller: raising one object again and again grows its traceback.
        kind = type(failure) if isinstance(failure, MammoscopeError) else ArtifactError
        raise kind(str(failure) if kind is type(failure) else "The model cannot be loaded.")

    def _load(self) -> None:
        started = time.monotonic()
        try:
            engine = self._make()
        except MammoscopeError as err:
            _log.error("model_refused", code=err.code, reason=str(err))
            self._engine.set_exception(err)
        except Exception as err:  # noqa: BLE001 whatever it is, the probes must tell
            _log.error("model_refused", code=ArtifactError.code, exc_info=err)
            self._engine.set_exception(err)
        else:
            seconds = round(time.monotonic() - started, 3)
            _log.info("model_ready", model_version=engine.card.version, seconds=seconds)
            self._engine.set_result(engine)
