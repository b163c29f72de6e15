"""Prepared pictures to scores, on OpenVINO.

The engine knows nothing of files' formats, HTTP or patients. It compiles the saved network
through Keras' OpenVINO backend, so that TensorFlow is not needed.
"""

import os
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mammoscope.artifact import DEFAULT_POINT, Artifact, Card, sha256_of
from mammoscope.errors import ArtifactMismatchError
from mammoscope.mammogram import Mammogram
from mammoscope.prediction import Prediction
from mammoscope.preparation import Preparation, prepare
from mammoscope.quality import discrepancies, require_mammogram

if TYPE_CHECKING:
    from collections.abc import Iterator

Pixels = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]

_LOGIT_RANK: Final = 2
_MAP_RANK: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What the network says of N prepared pictures.

    ``logits`` is float32 (N,), unbounded; ``logit_maps`` float32 (N, h, w): what each cell of the
    last feature map would score alone.
    """

    logits: Float
    logit_maps: Float


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """The answer about one picture, and what a heat map of it is drawn from.

    ``logit_map`` is float32 (h, w): the cells of `preparation`'s pixels.
    """

    prediction: Prediction
    preparation: Preparation
    logit_map: Float


class Engine:
    """A compiled network with its card; safe to use from several threads.

    Parameters
    ----------
    compiled
        An OpenVINO compiled model with uint8 input (N, H, W, 1) and outputs of rank 2 (logit)
        and 4 (logit map).
    card
        Facts that belong to the network.

    Raises
    ------
    ArtifactMismatchError
        If inputs or outputs are not those, or not of the card's size.
    """

    def __init__(self, compiled: Any, card: Card) -> None:
        height, width = card.input_size
        shape = compiled.input(0).partial_shape
        if list(shape)[1:] != [height, width, 1]:
            raise ArtifactMismatchError("The network's input is not of the size its card says.")
        ranks = {len(output.partial_shape): output for output in compiled.outputs}
        if set(ranks) != {_LOGIT_RANK, _MAP_RANK}:
            raise ArtifactMismatchError("The network's outputs are not a logit and a logit map.")
        self.card: Final = card
        self._logit = ranks[_LOGIT_RANK]
        self._map = ranks[_MAP_RANK]
        # A request holds its own buffers; as many as there are streams keep every core at work.
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")):
            self._requests.put(compiled.create_infer_request())

    def score(self, pixels: Pixels) -> Scores:
        """Score prepared pictures, one after the other on one stream.

        Parameters
        ----------
        pixels
            uint8 (N, H, W) as `mammoscope.preparation.prepare` makes them.
        """
        logits, maps = [], []
        with self._request() as request:
            for picture in pixels:
                answer = request.infer([picture[None, :, :, None]])
                logits.append(float(answer[self._logit][0, 0]))
                maps.append(answer[self._map][0, :, :, 0].copy())
        return Scores(np.array(logits, dtype=np.float32), np.array(maps, dtype=np.float32))

    def predict(self, mammogram: Mammogram, *, operating_point: str = DEFAULT_POINT) -> Prediction:
        """Prepare, score and calibrate one picture; raises like `judge`."""
        return self.judge(mammogram, operating_point=operating_point).prediction

    def judge(self, mammogram: Mammogram, *, operating_point: str = DEFAULT_POINT) -> Judgement:
        """Predict, and say where the score came from; one pass of the network gives both.

        Raises
        ------
        NoBreastError
            If nothing in the picture could be a breast.
        NotAMammogramError
            If the picture does not look like a mammogram.
        ConfigurationError
            If the card has no such operating point.
        """
        threshold = self.card.threshold(operating_point)
        prepared = prepare(mammogram, self.card.input_size)
        require_mammogram(mammogram, prepared)
        scores = self.score(prepared.pixels[None])
        logit = float(scores.logits[0])
        prediction = Prediction(
            probability=self.card.calibration.probability(logit),
            logit=logit,
            threshold=threshold,
            model_version=self.card.version,
            warnings=(*mammogram.warnings, *discrepancies(mammogram, prepared)),
        )
        return Judgement(prediction, prepared, scores.logit_maps[0])

    @contextmanager
    def _request(self) -> "Iterator[Any]":
        request = self._requests.get()
        try:
            yield request
        finally:
            self._requests.put(request)


def load_engine(artifact: Artifact, *, threads: int = 0) -> Engine:
    """Compile an artifact's network.

    Parameters
    ----------
    artifact
        A network without a card is scored uncalibrated and named by its sha256.
    threads
        Threads to compute on; 0 means one for each processor there is.

    Raises
    ------
    ArtifactMismatchError
        If the network cannot be loaded or does not fit its card.
    """
    import openvino

    core = openvino.Core()
    model = _openvino_model(artifact.network, core)
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        # Processors with bfloat16 would use it unasked, and scores differ from machine to machine.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    compiled = core.compile_model(model, "CPU", options)
    return Engine(compiled, artifact.card or _bare_card(artifact.network, compiled))


def _openvino_model(network: Path, core: Any) -> Any:
    """The saved network as an OpenVINO model that stands in memory."""
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "openvino"
    import keras

    try:
        model = keras.saving.load_model(network, compile=False)
        with tempfile.TemporaryDirectory(prefix="mammoscope-") as folder:
            path = Path(folder) / "network.xml"
            model.export(str(path), format="openvino", verbose=False)
            # Copied, not mapped: the file is gone in a moment.
            core.set_property({"ENABLE_MMAP": False})
            return core.read_model(path)
    # Keras and OpenVINO raise what their parsers happen to raise for a damaged file.
    except Exception as err:
        raise ArtifactMismatchError("The network is damaged or of another kind.") from err


def _bare_card(network: Path, compiled: Any) -> Card:
    shape = compiled.input(0).partial_shape
    digest = sha256_of(network)
    return Card(
        version=f"sha256:{digest[:12]}",
        sha256=digest,
        input_size=(shape[1].get_length(), shape[2].get_length()),
    )
