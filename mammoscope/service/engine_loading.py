"""An engine that loads in the background while the service already answers probes."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Self

import structlog

from mammoscope.errors import ArtifactError, MammoscopeError, NotReadyError
from mammoscope.imaging.arrays import Pixels
from mammoscope.imaging.mammogram import Mammogram
from mammoscope.imaging.network_input import NetworkInput
from mammoscope.model.artifact.card import DEFAULT_POINT, Card
from mammoscope.model.engine import Engine, Scores
from mammoscope.model.prediction import Prediction

_log = structlog.get_logger(__name__)


class LoadingEngine:
    """An engine that a background thread loads while the service already listens.

    A model that cannot be used must not end the process, which would restart in a loop, and the
    probes must say what is wrong. So every use raises NotReadyError until the engine is loaded,
    and if loading failed, every use raises that error.

    Parameters
    ----------
    make
        Loads the engine; called once.
    loaded
        Called when the engine is loaded and already used.
    """

    def __init__(
        self, make: Callable[[], Engine], loaded: Callable[[], None] = lambda: None
    ) -> None:
        self._make = make
        self._after_loading = loaded
        self._engine: Future[Engine] = Future()

    def start(self) -> Self:
        """Start loading the engine and return at once."""
        threading.Thread(target=self._load, daemon=True, name="load-engine").start()
        return self

    @property
    def card(self) -> Card:
        """Card of the model.

        Raises
        ------
        NotReadyError
            If the engine is still loading.
        MammoscopeError
            If it could not be loaded.
        """
        return self._loaded().card

    def predict(
        self,
        image: Mammogram | NetworkInput,
        /,
        *,
        operating_point: str = DEFAULT_POINT,
        age: float | None = None,
    ) -> Prediction:
        """Predict one image; also raises like `card`."""
        return self._loaded().predict(image, operating_point=operating_point, age=age)

    def infer(self, pixels: Pixels, /) -> Scores:
        """Run the network on preprocessed images; also raises like `card`."""
        return self._loaded().infer(pixels)

    def _loaded(self) -> Engine:
        if not self._engine.done():
            raise NotReadyError("The model is still being loaded. Try again in a few seconds.")
        failure = self._engine.exception()
        if failure is None:
            return self._engine.result()
        # A new error for each caller: raising one object repeatedly grows its traceback.
        kind = type(failure) if isinstance(failure, MammoscopeError) else ArtifactError
        raise kind(str(failure) if kind is type(failure) else "The model cannot be loaded.")

    def _load(self) -> None:
        started = time.monotonic()
        try:
            engine = self._make()
        except MammoscopeError as err:
            _log.error("model_refused", code=err.code, reason=str(err))
            self._engine.set_exception(err)
        except Exception as err:  # noqa: BLE001 the probes report it
            _log.error("model_refused", code=ArtifactError.code, exc_info=err)
            self._engine.set_exception(err)
        else:
            seconds = round(time.monotonic() - started, 3)
            _log.info("model_ready", model_version=engine.card.version, seconds=seconds)
            self._engine.set_result(engine)
            self._after_loading()
