"""The groups of the record: each has a file, and a function that makes its entries."""

from collections.abc import Callable

from tests.record import answers, commands, imaging, scores, serving
from tests.record.keeping import Entries

GROUPS: dict[str, Callable[[], Entries]] = {
    "imaging": imaging.record,
    "scores": scores.record,
    "answers": answers.record,
    "serving": serving.record,
    "commands": commands.record,
}

PROCESSOR = "processor"
"""File with the processor on which the network was run."""
