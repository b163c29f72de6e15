"""A compiled network and its card: preprocessed images to scores and predictions."""

import time
from collections import deque
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mammoscope.errors import ArtifactMismatchError
from mammoscope.imaging.mammogram import Mammogram
from mammoscope.imaging.preprocessing import Preprocessed, preprocess
from mammoscope.imaging.quality import discrepancies, require_mammogram
from mammoscope.model.artifact import DEFAULT_POINT, Card
from mammoscope.model.prediction import AGES_YEARS, Prediction

if TYPE_CHECKING:
    from collections.abc import Iterator

Pixels = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]

LOGIT_RANK: Final = 2
"""Axes of the output that is the logit, (N, 1)."""

_MAP_RANK: Final = 4


_AGE_UNUSED: Final = "This model makes no use of the age."


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What the network says of N preprocessed images.

    ``logits`` is float32 (N,), unbounded; ``logit_maps`` float32 (N, h, w): what each cell of the
    last feature map would score alone.
    """

    logits: Float
    logit_maps: Float


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """The answer about one image, and what a heat map of it is drawn from.

    ``logit_map`` is float32 (h, w): the cells of `preprocessing`'s pixels. ``stage_s`` are the
    seconds that ``preprocess`` and ``infer`` took.
    """

    prediction: Prediction
    preprocessed: Preprocessed
    logit_map: Float
    stage_s: Mapping[str, float] = field(default_factory=dict)


class Engine:
    """A compiled network with its card; safe to use from several threads.

    Parameters
    ----------
    compiled
        An OpenVINO compiled model with uint8 input (N, H, W, 1) and outputs of rank 2 (logit)
        and 4 (logit map).
    card
        Facts that belong to the network.
    age_from_dicom
        Whether the age that a DICOM object gives enters the calibration where no other is given.

    Raises
    ------
    ArtifactMismatchError
        If inputs or outputs are not those, or not of the card's size.
    """

    def __init__(self, compiled: Any, card: Card, *, age_from_dicom: bool = False) -> None:
        height, width = card.input_size
        shape = compiled.input(0).partial_shape
        if list(shape)[1:] != [height, width, 1]:
            raise ArtifactMismatchError("The network's input is not of the size its card says.")
        ranks = {len(output.partial_shape): output for output in compiled.outputs}
        if set(ranks) != {LOGIT_RANK, _MAP_RANK}:
            raise ArtifactMismatchError("The network's outputs are not a logit and a logit map.")
        self.card: Final = card
        self._age_from_dicom: Final = age_from_dicom
        self._logit = ranks[LOGIT_RANK]
        self._map = ranks[_MAP_RANK]
        # A request holds its own buffers; as many as there are streams keep every core at work.
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")):
            request = compiled.create_infer_request()
            # OpenVINO's binding sets itself up for NumPy when it first shows a tensor's memory.
            # Two threads that come first at a time wait for each other for ever, and with them
            # all threads that want the interpreter. Here there is one.
            request.get_input_tensor().data.fill(0)
            self._requests.put(request)

    def score(self, pixels: Pixels) -> Scores:
        """Score preprocessed images, as many at a time as there are requests to spare.

        Parameters
        ----------
        pixels
            uint8 (N, H, W) as `mammoscope.imaging.preprocessing.preprocess` makes them.
        """
        answers = []
        # Read in the order they were sent in; the oldest request is the next one free.
        with self._running() as running:
            for image in pixels:
                request = self._spare_request(wait=not running)
                if request is None:
                    answers.append(self._read(running[0]))
                    request = running.popleft()
                running.append(request)
                request.start_async([image[None, :, :, None]])
            answers += [self._read(request) for request in running]
        return Scores(
            np.array([logit for logit, _ in answers], dtype=np.float32),
            np.array([logit_map for _, logit_map in answers], dtype=np.float32),
        )

    def predict(
        self,
        mammogram: Mammogram,
        *,
        operating_point: str = DEFAULT_POINT,
        age: float | None = None,
    ) -> Prediction:
        """Preprocess, score and calibrate one image; takes and raises what `judge` does."""
        return self.judge(mammogram, operating_point=operating_point, age=age).prediction

    def judge(
        self,
        mammogram: Mammogram,
        *,
        operating_point: str = DEFAULT_POINT,
        age: float | None = None,
    ) -> Judgement:
        """Predict, and say where the score came from; one pass of the network gives both.

        Parameters
        ----------
        mammogram
            The image.
        operating_point
            Point of the card whose threshold decides the label.
        age
            The woman's age in years where it is known; it enters the calibration alone, and goes
            before what a DICOM object says.

        Raises
        ------
        NoBreastError
            If nothing in the image could be a breast.
        NotAMammogramError
            If the image does not look like a mammogram.
        ConfigurationError
            If the card has no such operating point.
        """
        threshold = self.card.threshold(operating_point)
        began = time.perf_counter()
        preprocessed = preprocess(mammogram, self.card.input_size)
        require_mammogram(mammogram, preprocessed)
        in_between = time.perf_counter()
        scores = self.score(preprocessed.pixels[None])
        stage_s = {"prepare": in_between - began, "infer": time.perf_counter() - in_between}
        logit = float(scores.logits[0])
        years = self._age_in(mammogram) if age is None else age
        probability, age_used = self.card.probability(logit, years)
        unused = (_AGE_UNUSED,) if age is not None and not age_used else ()
        prediction = Prediction(
            probability=probability,
            logit=logit,
            threshold=threshold,
            model_version=self.card.version,
            warnings=(*mammogram.warnings, *discrepancies(mammogram, preprocessed), *unused),
            age_used=age_used,
        )
        return Judgement(prediction, preprocessed, scores.logit_maps[0], stage_s)

    def _age_in(self, mammogram: Mammogram) -> float | None:
        """Age of an adult that the image itself gives, where it may be used."""
        years = mammogram.exposure.age
        if not self._age_from_dicom or years is None:
            return None
        low, high = AGES_YEARS
        return years if low <= years <= high else None

    def _spare_request(self, *, wait: bool) -> Any:
        """Take a request out of the pool; None where there is none and the caller cannot wait.

        Whoever holds a request does not wait for another one, so that nobody waits for ever.
        """
        try:
            return self._requests.get(block=wait)
        except Empty:
            return None

    def _read(self, request: Any) -> tuple[float, Float]:
        """Logit and logit map (h, w) of a request, once it has computed them."""
        request.wait()
        logit_map: Float = request.get_tensor(self._map).data[0, :, :, 0].copy()
        return float(request.get_tensor(self._logit).data[0, 0]), logit_map

    @contextmanager
    def _running(self) -> "Iterator[deque[Any]]":
        """Requests under way; whatever happens, they go back into the pool idle."""
        running: deque[Any] = deque()
        try:
            yield running
        finally:
            for request in running:
                with suppress(RuntimeError):  # said where it was read
                    request.wait()
                self._requests.put(request)
