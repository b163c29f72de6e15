"""Inference engine on OpenVINO: turns mammograms into predictions.

The engine is independent of file formats, HTTP and patients. It runs the compiled network, which
needs neither Keras nor TensorFlow. If there is no compiled network yet, Keras' OpenVINO backend
compiles it.
"""

from mammoscope.model.engine.agreement import score_phantoms
from mammoscope.model.engine.inference import LOGIT_RANK, OpenVinoEngine
from mammoscope.model.engine.loading import (
    Execution,
    computes_in,
    load_engine,
    make_engine,
)
from mammoscope.model.engine.protocol import Engine, Scores

__all__ = [
    "LOGIT_RANK",
    "Engine",
    "Execution",
    "OpenVinoEngine",
    "Scores",
    "computes_in",
    "load_engine",
    "make_engine",
    "score_phantoms",
]
