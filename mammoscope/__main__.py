"""The command ``mammoscope``, or ``python -m mammoscope``."""

from mammoscope.system.interrupts import quitting_on_ctrl_c

with quitting_on_ctrl_c():
    import argparse
    import importlib
    import logging
    import sys
    from collections.abc import Sequence
    from typing import Final

    from mammoscope import __doc__ as package_doc
    from mammoscope import __version__, cli
    from mammoscope.cli.ending import ended

_DEV: Final = "dev"
"""Command with the maintainers' commands below it."""


def parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser of the command that `words` begin with; else, of all commands.

    The modules of other commands are not imported, which takes longer than many commands run.
    """
    made = argparse.ArgumentParser(
        prog="mammoscope", description=(package_doc or "").splitlines()[0]
    )
    made.add_argument("--version", action="version", version=f"mammoscope {__version__}")
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    first, second = [*words[:2], "", ""][:2]
    if first != _DEV:
        _add_commands(commands, [first] if first in cli.COMMANDS else cli.COMMANDS)
    if first not in cli.COMMANDS:
        purpose = "maintainer commands"
        dev = commands.add_parser(_DEV, help=purpose, description=f"Run {purpose}.")
        _add_commands(
            dev.add_subparsers(required=True, metavar="COMMAND"),
            [second] if first == _DEV and second in cli.DEV_COMMANDS else cli.DEV_COMMANDS,
        )
    return made


def _add_commands(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]", modules: Sequence[str]
) -> None:
    for module in modules:
        importlib.import_module(f"{cli.__name__}.{module}").add_parser(subparsers)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 fine, 1 refused, 2 usage error, 130 interrupted."""
    with quitting_on_ctrl_c():
        words = _renamed(sys.argv[1:] if arguments is None else arguments)
        options = parser(words).parse_args(words)
    logging.basicConfig(format="mammoscope: %(message)s")
    logging.getLogger("mammoscope").setLevel(logging.INFO)
    return ended("mammoscope", lambda: int(options.run(options)))


def _renamed(arguments: Sequence[str]) -> Sequence[str]:
    """Replace a deprecated command name, and print a notice."""
    if not arguments or arguments[0] not in cli.RENAMED:
        return arguments
    new = cli.RENAMED[arguments[0]]
    sys.stderr.write(f"mammoscope: {arguments[0]} is deprecated; use mammoscope {' '.join(new)}.\n")
    return [*new, *arguments[1:]]


if __name__ == "__main__":
    sys.exit(main())
