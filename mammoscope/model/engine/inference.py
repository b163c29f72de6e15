"""Inference on OpenVINO: run a compiled network and calibrate its scores by the card."""

import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mammoscope.errors import ArtifactMismatchError
from mammoscope.imaging.arrays import Float, Pixels
from mammoscope.imaging.mammogram import Mammogram
from mammoscope.imaging.network_input import NetworkInput, network_input_of
from mammoscope.model.artifact.card import DEFAULT_POINT, Card
from mammoscope.model.engine.protocol import Scores
from mammoscope.model.prediction import AGES_YEARS, Prediction
from mammoscope.system.fair_pool import FairPool

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGIT_RANK: Final = 2
"""Rank of the logit output, (N, 1)."""

_MAP_RANK: Final = 4

_AGE_UNUSED: Final = "This model does not use the age."


class OpenVinoEngine:
    """An `Engine`: a compiled network with its card; thread-safe.

    Parameters
    ----------
    compiled
        An OpenVINO compiled model with uint8 input (N, H, W, 1) or (N, H, W, 3) and outputs of
        rank 2 (logit) and 4 (logit map).
    card
        The network's card.
    age_from_dicom
        Whether to use the age in a DICOM object if the caller gives none.
    weights
        Owner of the memory of the network's constants, kept for as long as the engine.

    Raises
    ------
    ArtifactMismatchError
        If the inputs or outputs are different, or do not match the card.
    """

    def __init__(
        self,
        compiled: Any,
        card: Card,
        *,
        age_from_dicom: bool = False,
        weights: Any = None,
    ) -> None:
        if list(compiled.input(0).partial_shape)[1:] != list(card.tensor_shape):
            raise ArtifactMismatchError(
                "The network's input size or channels differ from those in its card."
            )
        ranks = {len(output.partial_shape): output for output in compiled.outputs}
        if set(ranks) != {LOGIT_RANK, _MAP_RANK}:
            raise ArtifactMismatchError("The network's outputs are not a logit and a logit map.")
        self.card: Final = card
        self._weights = weights
        self._age_from_dicom: Final = age_from_dicom
        self._logit = ranks[LOGIT_RANK]
        self._map = ranks[_MAP_RANK]
        # One request per stream keeps every core busy; each has its own buffers.
        count = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        requests = [compiled.create_infer_request() for _ in range(count)]
        for request in requests:
            # OpenVINO's binding initialises NumPy on the first access to a tensor's memory. Two
            # threads that do so at once deadlock while holding the GIL; here there is only one
            # thread.
            request.get_input_tensor().data.fill(0)
        self._requests: FairPool[Any] = FairPool(requests)

    def infer(self, pixels: Pixels, /) -> Scores:
        """Run the network on preprocessed images, as many at a time as there are free requests.

        Parameters
        ----------
        pixels
            uint8 (N, H, W) or (N, H, W, 3), as returned by
            `mammoscope.imaging.preprocessing.preprocess`.
        """
        batches = pixels.reshape(len(pixels), 1, *self.card.tensor_shape)
        answers = []
        # Results are read in the order of submission; the oldest request is free first.
        with self._running() as running:
            for batch in batches:
                # Callers that hold a request must not wait for another: they could deadlock.
                request = self._requests.take_idle() if running else self._requests.take()
                if request is None:
                    answers.append(self._read(running[0]))
                    request = running.popleft()
                running.append(request)
                request.start_async([batch])
            answers += [self._read(request) for request in running]
        return Scores(
            np.array([logit for logit, _ in answers], dtype=np.float32),
            np.array([logit_map for _, logit_map in answers], dtype=np.float32),
        )

    def predict(
        self,
        image: Mammogram | NetworkInput,
        /,
        *,
        operating_point: str = DEFAULT_POINT,
        age: float | None = None,
    ) -> Prediction:
        """Run the network on one image and calibrate its logit.

        Parameters
        ----------
        image
            The image as read, or preprocessed to the card's input size.
        operating_point
            Operating point of the card whose threshold decides the label.
        age
            The woman's age in years, if known. Only the calibration uses it, and it takes
            precedence over the age in a DICOM object.

        Raises
        ------
        NoBreastError
            If the image shows no breast.
        NotAMammogramError
            If the image does not look like a mammogram.
        ConfigurationError
            If the card has no such operating point.
        """
        threshold = self.card.threshold(operating_point)
        if isinstance(image, Mammogram):
            image = network_input_of(image, self.card.reading_options())
        began = time.perf_counter()
        scores = self.infer(image.preprocessed.pixels[None])
        stage_s = {**image.stage_s, "infer": time.perf_counter() - began}
        logit = float(scores.logits[0])
        years = self._age_in(image) if age is None else age
        probability, age_used = self.card.probability(logit, years)
        unused = (_AGE_UNUSED,) if age is not None and not age_used else ()
        return Prediction(
            probability=probability,
            logit=logit,
            threshold=threshold,
            model_version=self.card.version,
            warnings=(*image.warnings, *unused),
            age_used=age_used,
            preprocessed=image.preprocessed,
            logit_map=scores.logit_maps[0],
            stage_s=stage_s,
        )

    def _age_in(self, image: NetworkInput) -> float | None:
        """Return an adult's age from the DICOM object, if the engine may use it."""
        years = image.exposure.age
        if not self._age_from_dicom or years is None:
            return None
        low, high = AGES_YEARS
        return years if low <= years <= high else None

    def _read(self, request: Any) -> tuple[float, Float]:
        """Wait for a request and return its logit and logit map (h, w)."""
        request.wait()
        logit_map: Float = request.get_tensor(self._map).data[0, :, :, 0].copy()
        return float(request.get_tensor(self._logit).data[0, 0]), logit_map

    @contextmanager
    def _running(self) -> "Iterator[deque[Any]]":
        """Yield the requests in flight; on exit all of them are idle and back in the pool."""
        running: deque[Any] = deque()
        try:
            yield running
        finally:
            for request in running:
                with suppress(RuntimeError):  # already raised where the result was read
                    request.wait()
                self._requests.give_back(request)
