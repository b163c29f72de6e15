"""Ask a running service about pictures: ``python test.py URL|FILE|FOLDER…``.

Prints a table, or with --json one object a line. Exit code: 0 every picture was answered, 1 one or
more were refused, 2 wrong usage or no server, 130 interrupted.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mammoscope.client import DEFAULT_SERVER, Client
from mammoscope.errors import (
    ConfigurationError,
    MammoscopeError,
    ServerAnswerError,
    ServerUnreachableError,
)
from mammoscope.reading import PICTURE_SUFFIXES

WIDTH = 44


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("pictures", nargs="+", metavar="URL|FILE|FOLDER")
    parser.add_argument("--server", default=DEFAULT_SERVER, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, no table")
    key = "file that holds the API key, for servers that ask for one"
    parser.add_argument("--key-file", type=Path, metavar="FILE", help=key)
    age = "the woman's age in years; enters the probability of every picture given"
    parser.add_argument("--age", type=float, metavar="YEARS", help=age)
    wait = "for a service that is still starting (default: %(default)s)"
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help=wait)
    return parser.parse_args()


def sources(arguments: list[str]) -> Iterator[str | Path]:
    """Yield URLs as text and files as paths; of a folder, the pictures in it and below."""
    for argument in arguments:
        if argument.startswith(("http://", "https://")):
            yield argument
        elif (path := Path(argument)).is_dir():
            found = (file for file in path.rglob("*") if file.suffix.lower() in PICTURE_SUFFIXES)
            yield from sorted(found) or [path]
        else:
            yield path


def ask(client: Client, source: str | Path, age: float | None) -> dict[str, Any]:
    """Return the answer about one picture, or under ``error`` why there is none."""
    try:
        return {"picture": str(source), **client.predict(source, age=age)}
    except ServerUnreachableError:
        raise
    except MammoscopeError as err:
        code = err.problem_code if isinstance(err, ServerAnswerError) else None
        return {"picture": str(source), "error": {"code": code or err.code, "detail": str(err)}}


def read_key(file: Path | None) -> str | None:
    """Return the API key that a file holds; None without a file."""
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigurationError("The file of the API key cannot be read.") from err


def row(answer: dict[str, Any]) -> str:
    """Return the table's line about one picture."""
    picture, error = answer["picture"], answer.get("error")
    picture = picture if len(picture) <= WIDTH else f"…{picture[1 - WIDTH :]}"
    if error:
        return f"{picture:<{WIDTH}}  {'refused':<23}  {error['detail']}"
    answered = f"{answer['label']:<9}  {answer['probability']:>12.4f}"
    return f"{picture:<{WIDTH}}  {answered}  {' '.join(answer['warnings'])}".rstrip()


def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = parse_arguments()
    waiting, refused = list(sources(arguments.pictures)), 0
    try:
        with Client(arguments.server, api_key=read_key(arguments.key_file)) as client:
            client.wait_ready(arguments.wait)
            if not arguments.json:
                print(f"{'picture':<{WIDTH}}  label       probability  remarks")
            for number, source in enumerate(waiting, start=1):
                if sys.stderr.isatty():
                    print(f"{number}/{len(waiting)}", end="\r", file=sys.stderr)
                answer = ask(client, source, arguments.age)
                refused += "error" in answer
                print(json.dumps(answer) if arguments.json else row(answer), flush=True)
    except ConfigurationError as err:
        print(f"test.py: {err}", file=sys.stderr)
        return 2
    except ServerAnswerError as err:
        print(f"test.py: {err} ({arguments.server})", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return int(refused > 0)


if __name__ == "__main__":
    sys.exit(main())
