"""The commands of ``mammoscope``, one module each."""

from typing import Final

COMMANDS: Final = (
    "serve",
    "predict",
    "bulk",
    "train",
    "evaluate",
    "audit",
    "download",
    "archive",
    "compile",
    "key",
    "phantoms",
    "explain",
)
"""Modules of this package that each add a command, in the order of the help."""

DEV_COMMANDS: Final = (
    "card",
    "compare",
    "distributions",
    "experiments",
    "explore",
    "figures",
    "folds",
    "gate",
    "pointing",
    "quality",
    "release",
    "report",
    "robustness",
    "trainings",
)
"""Modules of the commands below ``mammoscope dev``."""

_NEW: Final = ("compare", "folds", "gate", "pointing")
"""Commands below ``mammoscope dev`` that have no deprecated name."""

RENAMED: Final = {
    "score": ("predict",),
    **{name: ("dev", name) for name in DEV_COMMANDS if name not in _NEW},
}
"""Deprecated names of commands, which work for one version, and their replacements."""
