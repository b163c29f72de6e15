"""The groups of the record: each a file, and what makes its entries anew."""

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
"""File that says on which processor the network was asked."""
