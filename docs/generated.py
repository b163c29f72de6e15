"""Tables of the documentation that are made from the code, so that they cannot disagree with it."""

import argparse
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from mammoscope import errors
from mammoscope.__main__ import parser
from mammoscope.service.problems import STATUSES
from mammoscope.settings.archive import ArchiveSettings
from mammoscope.settings.frozen import Frozen, descriptions
from mammoscope.settings.service import ARCHIVE_PREFIX, ENVIRONMENT_PREFIX, ServiceSettings
from mammoscope.settings.training import PresetName, TrainConfig


def settings_table(settings: type[Frozen], prefix: str) -> Iterator[str]:
    """Yield a row for each setting of the service or the archive worker."""
    yield "| Setting | Default | Meaning |"
    yield "| --- | --- | --- |"
    described = descriptions(settings)
    for name, field in settings.model_fields.items():
        default = f"`{_value(field.default)}`" if field.default or field.default == 0 else "not set"
        yield f"| `{prefix}{name.upper()}` | {default} | {described[name]} |"


def presets_table() -> Iterator[str]:
    """Yield a row for each training option whose value differs between presets."""
    presets = {
        name: TrainConfig.from_preset(name, {}).model_dump(mode="json")
        for name in get_args(PresetName)
    }
    yield f"| Option | {' | '.join(f'`{name}`' for name in presets)} |"
    yield f"| --- |{' --- |' * len(presets)}"
    for option in TrainConfig.model_fields:
        values = [_value(preset[option]) for preset in presets.values()]
        if len(set(values)) > 1:
            yield f"| `{option}` | {' | '.join(values)} |"


def errors_table() -> Iterator[str]:
    """Yield a row for each error, those that the service answers with first."""
    yield "| Status | `code` | Meaning |"
    yield "| --- | --- | --- |"
    rows = [(_status(kind), kind.code, _first_line(kind)) for kind in STATUSES]
    for status, code, meaning in sorted(rows):
        yield f"| {status} | `{code}` | {meaning} |"


def _status(kind: type[errors.MammoscopeError]) -> str:
    """Return the status of the service's answer, or a dash for errors of commands and clients."""
    status = int(STATUSES[kind])
    return "–" if status == 500 and kind is not errors.MammoscopeError else str(status)


def commands() -> Iterator[str]:
    """Yield the help of each command, the maintainers' commands last."""
    os.environ["COLUMNS"] = "88"  # the width of argparse's help
    for name, command in sorted(_leaves(parser()), key=lambda leaf: leaf[0].startswith("dev ")):
        yield f"## {name}\n"
        yield f"```text\n{command.format_help().rstrip()}\n```\n"


def _leaves(command: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the commands below `command` by name, without those that only group others."""
    groups = [each for each in command._actions if isinstance(each, argparse._SubParsersAction)]  # noqa: SLF001
    for group in groups:
        listed = {each.dest for each in group._choices_actions}  # noqa: SLF001
        for name, below in group.choices.items():
            if name in listed:  # leaves out deprecated names
                leaves = list(_leaves(below))
                yield from ((f"{name} {leaf}", found) for leaf, found in leaves)
                if not leaves:
                    yield name, below


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "x".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _first_line(kind: type) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def write(folder: Path) -> None:
    """Write the tables as Markdown files for the pages to include."""
    folder.mkdir(exist_ok=True)
    tables = {
        "settings": settings_table(ServiceSettings, ENVIRONMENT_PREFIX),
        "archive-settings": settings_table(ArchiveSettings, ARCHIVE_PREFIX),
        "presets": presets_table(),
        "errors": errors_table(),
        "commands": commands(),
    }
    for name, lines in tables.items():
        text = "\n".join(lines) + "\n"
        file = folder / f"{name}.md"
        # An unchanged file keeps its time, so that Sphinx does not build its page again.
        if not file.exists() or file.read_text("utf-8") != text:
            file.write_text(text, "utf-8")
