"""Preprocessed images to scores, on OpenVINO.

The engine knows nothing of files' formats, HTTP or patients. It computes the compiled network,
which needs neither Keras nor TensorFlow; where there is none yet, it is made through Keras'
OpenVINO backend.
"""

from mammoscope.model.engine.agreement import score_phantoms
from mammoscope.model.engine.inference import LOGIT_RANK, Engine, Float, Judgement, Pixels, Scores
from mammoscope.model.engine.loading import (
    Execution,
    computes_in_bfloat16,
    load_engine,
    make_engine,
)

__all__ = [
    "LOGIT_RANK",
    "Engine",
    "Execution",
    "Float",
    "Judgement",
    "Pixels",
    "Scores",
    "computes_in_bfloat16",
    "load_engine",
    "make_engine",
    "score_phantoms",
]
