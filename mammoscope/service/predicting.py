"""What every route does with an image: take a place, read, wait for a turn, judge."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from flask import request

from mammoscope.imaging import reading
from mammoscope.imaging.dicom import Pseudonyms
from mammoscope.imaging.mammogram import Mammogram
from mammoscope.model.artifact import DEFAULT_POINT, Card
from mammoscope.model.engine import Float, Judgement, Pixels
from mammoscope.service.connection import Connection
from mammoscope.service.engine_loading import ScoringEngine
from mammoscope.service.monitoring import Monitoring
from mammoscope.service.request_parsing import MULTIPART_OVERHEAD_BYTES
from mammoscope.service.request_queue import Admission, Visit
from mammoscope.settings import ServiceSettings


class Judging:
    """Images to judgements, for as many requests at a time as are admitted.

    Parameters
    ----------
    settings
        Limits of images, and the operating point that decides labels.
    engine
        What judges.
    admission
        Who may come in.
    monitoring
        What is told about it.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        engine: ScoringEngine,
        admission: Admission,
        monitoring: Monitoring,
    ) -> None:
        self.settings: Final = settings
        self.admission: Final = admission
        self._engine: Final = engine
        self._monitoring: Final = monitoring

    @property
    def card(self) -> Card:
        """Card of the model that answers; raises while there is none."""
        return self._engine.card

    @contextmanager
    def visit(self, *, many: bool = False) -> Iterator[Visit]:
        """Hold a place for the request that is being handled, whose body is limited from now on.

        Parameters
        ----------
        many
            Whether it may bring several images.

        Raises
        ------
        ServiceBusyError
            If there is none.
        NotReadyError, ArtifactError
            If there is no model to ask.
        """
        _ = self.card  # nobody needs to upload to learn that there is no model
        if many:
            overhead = self.settings.max_study_pictures * MULTIPART_OVERHEAD_BYTES
            request.max_content_length = self.settings.max_study_bytes + overhead
        with self.admission.place(Connection(request.environ)) as visit:
            yield visit

    @contextmanager
    def turn(self, visit: Visit) -> Iterator[None]:
        """Wait for a turn and hold it; raises as `Visit.turn` does."""
        with ExitStack() as held:
            with self._monitoring.stage("queue"):
                held.enter_context(visit.turn())
            yield

    def read(self, image: bytes, pseudonyms: Pseudonyms | None = None) -> Mammogram:
        """Decode an image within the limits; raises as `mammoscope.imaging.reading.read` does."""
        with self._monitoring.stage("decode"):
            return reading.read(
                image, self.settings, needed=self.card.input_size, pseudonyms=pseudonyms
            )

    def judge(
        self,
        mammogram: Mammogram,
        *,
        operating_point: str = DEFAULT_POINT,
        age: float | None = None,
    ) -> Judgement:
        """Judge an image; raises as `mammoscope.model.engine.Engine.judge` does."""
        judged = self._engine.judge(mammogram, operating_point=operating_point, age=age)
        self._monitoring.judged(judged)
        return judged

    def score(self, pixels: Pixels) -> Float:
        """Logits, float32 (N,), of preprocessed images, uint8 (N, H, W) of the card's size."""
        with self._monitoring.stage("infer"):
            return self._engine.score(pixels).logits
