"""The steps of every prediction route: take a slot, read, wait to run, predict."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from flask import request

from mammoscope.imaging.arrays import Pixels
from mammoscope.imaging.display_image import DisplayImage, DisplayOptions
from mammoscope.imaging.mammogram import Mammogram
from mammoscope.imaging.network_input import NetworkInput, Reader
from mammoscope.model.artifact.card import DEFAULT_POINT, Card
from mammoscope.model.engine import Engine, Scores
from mammoscope.model.prediction import Prediction
from mammoscope.service.connection import Connection
from mammoscope.service.monitoring import Monitoring
from mammoscope.service.request_parsing import MULTIPART_OVERHEAD_BYTES
from mammoscope.service.request_queue import RequestQueue, Slot
from mammoscope.settings.service import ServiceSettings


class Predictor:
    """An `Engine` behind a request queue, with metrics.

    Parameters
    ----------
    settings
        Limits on images, and the operating point that decides labels.
    engine
        Inference engine.
    reader
        Makes network inputs from encoded images.
    queue
        Concurrency limiter.
    monitoring
        Metrics.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        engine: Engine,
        reader: Reader,
        queue: RequestQueue,
        monitoring: Monitoring,
    ) -> None:
        self.settings: Final = settings
        self.queue: Final = queue
        self._engine: Final = engine
        self._reader: Final = reader
        self._monitoring: Final = monitoring

    @property
    def card(self) -> Card:
        """The model card; raises NotReadyError or ArtifactError if there is none."""
        return self._engine.card

    @contextmanager
    def slot(self, *, many: bool = False) -> Iterator[Slot]:
        """Hold a slot for the current request, and set the limit of its body.

        Parameters
        ----------
        many
            Whether the request may have several images.

        Raises
        ------
        ServiceBusyError
            If there is no free slot.
        NotReadyError, ArtifactError
            If no model is loaded.
        """
        _ = self.card  # without a model, refuse before the upload
        if many:
            overhead = self.settings.max_study_images * MULTIPART_OVERHEAD_BYTES
            request.max_content_length = self.settings.max_study_bytes + overhead
        with self.queue.slot(Connection(request.environ)) as slot:
            yield slot

    @contextmanager
    def running(self, slot: Slot) -> Iterator[None]:
        """Wait until the request may run; raises like `Slot.running`."""
        with ExitStack() as held:
            with self._monitoring.stage("queue"):
                held.enter_context(slot.running())
            yield

    def read(
        self, data: bytes, slot: Slot, *, pseudonym_key: bytes | None = None, display: bool = False
    ) -> NetworkInput:
        """Read, preprocess and check an image, until the request of `slot` is cancelled.

        Parameters
        ----------
        data
            The encoded image.
        slot
            The request's slot.
        pseudonym_key, display
            As in `mammoscope.imaging.network_input.ReadingOptions`.

        Raises
        ------
        ImageError
            If the image is refused.
        DeadlineExceededError, ClientGoneError
            If the request was cancelled or its deadline has passed.
        """
        options = self.card.reading_options(
            self.settings, pseudonym_key=pseudonym_key, display=display
        )
        with self._monitoring.stage("read"):
            return self._reader.read(data, options, slot.check)

    def read_display(self, data: bytes, slot: Slot, longest_side: int | None) -> DisplayImage:
        """Read an image to show it; errors are those of `read`.

        Parameters
        ----------
        data
            The encoded image.
        slot
            The request's slot.
        longest_side
            Pixels that the longer side may have; all where None.
        """
        with self._monitoring.stage("read"):
            return self._reader.read_display(
                data, DisplayOptions(longest_side, self.settings), slot.check
            )

    def predict(
        self,
        image: Mammogram | NetworkInput,
        /,
        *,
        operating_point: str = DEFAULT_POINT,
        age: float | None = None,
    ) -> Prediction:
        """Predict one image; raises like `mammoscope.model.engine.OpenVinoEngine.predict`."""
        prediction = self._engine.predict(image, operating_point=operating_point, age=age)
        self._monitoring.predicted(prediction)
        return prediction

    def infer(self, pixels: Pixels, /) -> Scores:
        """Run the network on preprocessed images, uint8 (N, H, W) or (N, H, W, 3)."""
        with self._monitoring.stage("infer"):
            return self._engine.infer(pixels)
