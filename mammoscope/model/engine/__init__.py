"""Inference engine: mammograms to predictions, on OpenVINO.

The engine knows nothing of file formats, HTTP or patients. It loads what was compiled for
serving without Keras; a network that was not compiled is converted through Keras' OpenVINO
backend. Neither needs TensorFlow.
"""

from mammoscope.model.engine.agreement import score_phantoms
from mammoscope.model.engine.inference import LOGIT_RANK, OpenVinoEngine
from mammoscope.model.engine.loading import (
    Execution,
    Precision,
    computes_in_bfloat16,
    load_engine,
    make_engine,
    precision_of,
    read_network,
)
from mammoscope.model.engine.protocol import Engine, Scores

__all__ = [
    "LOGIT_RANK",
    "Engine",
    "Execution",
    "OpenVinoEngine",
    "Precision",
    "Scores",
    "computes_in_bfloat16",
    "load_engine",
    "make_engine",
    "precision_of",
    "read_network",
    "score_phantoms",
]
