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
    "quality",
    "release",
    "report",
    "robustness",
    "score",
    "trainings",
)
"""Modules of this package that add a command each, in the order of the help."""
