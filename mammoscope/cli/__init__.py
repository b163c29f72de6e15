"""The commands of ``python -m mammoscope``, a module each."""

from typing import Final

COMMANDS: Final = (
    "audit",
    "card",
    "compile",
    "distributions",
    "download",
    "evaluate",
    "experiments",
    "explain",
    "explore",
    "figures",
    "key",
    "phantoms",
    "predict",
    "quality",
    "release",
    "report",
    "robustness",
    "trainings",
)
"""Modules of this package that add a command each, in the order of the help."""
