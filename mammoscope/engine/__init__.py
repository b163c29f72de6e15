"""Prepared pictures to scores, on OpenVINO.

The engine knows nothing of files' formats, HTTP or patients. It loads what was compiled for
serving without Keras; a network that was not compiled is converted through Keras' OpenVINO
backend. Neither needs TensorFlow.
"""

from mammoscope.engine.agreement import score_phantoms
from mammoscope.engine.loading import load_engine, make_engine, read_network
from mammoscope.engine.scoring import LOGIT_RANK, Engine, Float, Judgement, Pixels, Scores

__all__ = [
    "LOGIT_RANK",
    "Engine",
    "Float",
    "Judgement",
    "Pixels",
    "Scores",
    "load_engine",
    "make_engine",
    "read_network",
    "score_phantoms",
]
