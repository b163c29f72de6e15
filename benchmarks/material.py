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
from mammoscope.model.artifact.folder import load_artifact, sha256_of
from mammoscope.phantoms.drawing import write_phantom_dataset

PATIENTS: Final = 4
"""Number of patients; four images each are sent, 640 x 640 JPEG like the data set's."""


def network(model: Path) -> Network:
    """Return the network of a model folder, exported to ONNX if necessary.

    Raises
    ------
    ArtifactNotFoundError
        If the model has no card, which gives the input size.
    """
    artifact = load_artifact(model)
    height, width = artifact.require_card().input_size
    onnx = ENVIRONMENTS / f"network-{sha256_of(artifact.network)[:12]}.onnx"
    if not onnx.is_file():
        python = engine_python("tensorflow")
        print("Exporting the network to ONNX", file=sys.stderr, flush=True)
        partial = onnx.with_suffix(".partial.onnx")
        run_worker(python, "export", str(artifact.network), str(partial), answers=False)
        partial.replace(onnx)
    return Network(model.resolve(), artifact.network.resolve(), onnx, height, width)


def images() -> list[bytes]:
    """Draw phantoms as encoded images, always the same ones."""
    with tempfile.TemporaryDirectory(prefix="mammoscope-") as folder:
        return [p.read_bytes() for p in write_phantom_dataset(Path(folder), patients=PATIENTS)]


def preprocessed(encoded: Sequence[bytes], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Preprocess images like the service, to uint8 (N, H, W, 1)."""
    return np.stack([preprocess(read(data), size).pixels for data in encoded])[..., None]
