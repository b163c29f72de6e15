"""Write, read and compare the files of the record."""

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]

NETWORK = "network"
"""Key of entries that depend on the processor: on the network, or on an encoder that rounds."""

_LONGEST_DIFF = 60
_LONGEST_REPORT = 400
_LONG_TEXT = 4000
_WIDTH = 100
_PROCESSOR_DEPENDS = re.compile(
    r"-?\d+\.\d+(?:e[-+]?\d+)?|[0-9a-f]{64}|(?:no )?tumour *|\d+ bytes|(?<=\"bytes\": )\d+"
)
"""Decimals, digests, labels, which turn at a threshold, and sizes."""

Entries = dict[str, Any]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def as_text(data: bytes | str) -> Any:
    """A text as a list of its lines; what is long or no text by its digest and size."""
    encoded = data.encode() if isinstance(data, str) else data
    try:
        text = encoded.decode()
    except UnicodeDecodeError:
        return digest(encoded)
    return text.split("\n") if len(text) <= _LONG_TEXT else digest(encoded)


def digest(data: bytes) -> dict[str, Any]:
    return {"sha256": sha256(data), "bytes": len(data)}


def file_of(group: str) -> Path:
    return FOLDER / f"{group}.json"


def write(group: str, entries: Mapping[str, Any]) -> None:
    content = pretty(dict(sorted(entries.items())))
    file_of(group).write_text(content + "\n", encoding="utf-8")


def pretty(value: Any, indent: int = 0) -> str:
    """JSON in which whatever fits has one line."""
    line = json.dumps(value, ensure_ascii=False)
    if not value or not isinstance(value, dict | list) or len(line) + indent <= _WIDTH:
        return line
    if isinstance(value, dict):
        parts = [f"{json.dumps(k)}: {pretty(v, indent + 1)}" for k, v in value.items()]
    else:
        parts = [pretty(each, indent + 1) for each in value]
    begin, end = "{}" if isinstance(value, dict) else "[]"
    margin = " " * indent
    return begin + "\n" + ",\n".join(f"{margin} {part}" for part in parts) + f"\n{margin}{end}"


def load(group: str) -> Entries:
    content: Entries = json.loads(file_of(group).read_text(encoding="utf-8"))
    return content


def differences(recorded: Entries, now: Entries, *, same_processor: bool = True) -> str:
    """What differs, entry by entry, old and new; empty where nothing does.

    On another processor, what the network answers may differ: there the numbers and labels of
    entries that depend on it are left out of the comparison, and all else is not.
    """
    # Through JSON, as the record went: tuples are lists, and equal numbers are written alike.
    now = json.loads(json.dumps(now))
    names, told = [], []
    for name in sorted({*recorded, *now}):
        old, new = (
            _lines(each[name], same_processor) if name in each else [] for each in (recorded, now)
        )
        if old == new:
            continue
        names.append(name)
        fate = "differs" if old and new else "is new" if new else "is gone"
        changes = list(difflib.unified_diff(old, new, "recorded", "now", n=2, lineterm=""))
        shown = changes[:_LONGEST_DIFF] if new else []
        more = len(changes) - len(shown) if new else 0
        told += [f"--- {name} {fate}", *shown, *([f"... and {more} lines more"] if more else [])]
    if not names:
        return ""
    if (more := len(told) - _LONGEST_REPORT) > 0:
        told[_LONGEST_REPORT:] = [f"... and {more} lines more of the entries named above"]
    return "\n".join([f"{len(names)} of {len(recorded)} entries: {'; '.join(names)}", *told])


def _lines(entry: Any, same_processor: bool) -> list[str]:
    text = pretty(entry)
    if not same_processor and isinstance(entry, dict) and entry.get(NETWORK):
        text = _PROCESSOR_DEPENDS.sub("#", text)
    return text.splitlines()
