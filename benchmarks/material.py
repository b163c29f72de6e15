"""Input of all benchmarks: phantoms, and one network in the engines' formats."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.contenders import Network
from benchmarks.environments import ENVIRONMENTS, engine_python
from benchmarks.starting import run_worker
from mammoscope.imaging.preprocessing import preprocess
from mammoscope.imaging.reading import read
from mammoscope.model.artifact.card import Card
from mammoscope.model.artifact.folder import load_artifact, sha256_of
from mammoscope.phantoms.drawing import write_phantom_dataset

PATIENTS: Final = 4
"""Number of patients; four images each are sent, 640 x 640 JPEG like the data set's."""


def network(model: Path) -> Network:
    """Return the network of a model folder, exported to ONNX and quantised if necessary.

    The ranges of the quantised network's activations are those of the phantoms.

    Raises
    ------
    ArtifactNotFoundError
        If the model has no card, which gives the input size.
    """
    artifact = load_artifact(model)
    card = artifact.require_card()
    height, width, channels = card.tensor_shape
    name = f"network-{sha256_of(artifact.network)[:12]}"
    onnx, onnx_int8 = ENVIRONMENTS / f"{name}.onnx", ENVIRONMENTS / f"{name}-int8.onnx"
    if not onnx.is_file():
        print("Exporting the network to ONNX", file=sys.stderr, flush=True)
        _make(onnx, "tensorflow", "export", artifact.network)
    if not onnx_int8.is_file():
        print("Quantising the network for ONNX Runtime", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="mammoscope-") as folder:
            file = Path(folder) / "images.npy"
            np.save(file, preprocessed(images(), card))
            _make(onnx_int8, "onnxruntime", "quantise", onnx, file)
    return Network(
        model.resolve(), artifact.network.resolve(), onnx, onnx_int8, height, width, channels
    )


def _make(onnx: Path, environment: str, worker: str, *arguments: Path) -> None:
    """Let a worker write a network; one that fails leaves none."""
    partial = onnx.with_suffix(".partial.onnx")
    words = [str(each) for each in (*arguments, partial)]
    run_worker(engine_python(environment), worker, *words, answers=False)
    partial.replace(onnx)


def images() -> list[bytes]:
    """Draw phantoms as encoded images, always the same ones."""
    with tempfile.TemporaryDirectory(prefix="mammoscope-") as folder:
        return [p.read_bytes() for p in write_phantom_dataset(Path(folder), patients=PATIENTS)]


def preprocessed(encoded: Sequence[bytes], card: Card) -> npt.NDArray[np.uint8]:
    """Preprocess images like the service, to uint8 (N, H, W, 1) or (N, H, W, 3)."""
    made = [
        preprocess(read(data), card.input_size, channels=card.channels).pixels for data in encoded
    ]
    return np.stack(made).reshape(len(made), *card.input_size, -1)
